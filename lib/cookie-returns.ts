/** How many logins must have lost their cookie: one may be a browser that keeps none. */
const MANY = 3
/** How many logins are remembered. */
const MAX_LOGINS = 16
/** Who logs in again this soon was thrown out; later they may have closed the browser. */
const AGAIN_MS = 120_000

interface RecentLogin {
  readonly sid: string
  readonly who: string
  readonly at: number
}

/**
 * Decides whether the cookies of logins come back. What nobody sends proves nothing by itself: the
 * next request may go to another node or another service. So a login has lost its cookie only when
 * its own client comes back without: with the access token of that login, or to log the same user
 * in again. One cookie that arrives ends the watch for good.
 */
export class CookieReturns {
  #logins: RecentLogin[] = []
  #lost = 0
  #watching = true

  /** Whether there is still something to find out. */
  get watching(): boolean {
    return this.#watching
  }

  /** Whether a login waits for its cookie. */
  get waiting(): boolean {
    return this.#logins.length > 0
  }

  /** A cookie of ours came: they do come back. */
  seen(): void {
    this.#watching = false
    this.#logins = []
  }

  /**
   * A browser logged in without a cookie of ours, and was given some.
   *
   * @param who - the user and the client
   * @returns whether it is now clear that cookies do not come back
   */
  login(login: RecentLogin): boolean {
    if (!this.#watching) return false
    const isLost = this.#lose(({ who, at }) => who === login.who && login.at - at < AGAIN_MS)
    if (!isLost) this.#logins = [...this.#logins, login].slice(-MAX_LOGINS)
    return isLost
  }

  /**
   * A browser presented an access token where it would have sent its cookies as well.
   *
   * @param sid - the session of the token
   * @returns whether it is now clear that cookies do not come back
   */
  withoutCookie(sid: string): boolean {
    return this.#watching && this.#lose((login) => login.sid === sid)
  }

  /** A login loses its cookie once. */
  #lose(isMeant: (login: RecentLogin) => boolean): boolean {
    const kept = this.#logins.filter((login) => !isMeant(login))
    if (kept.length === this.#logins.length) return false
    this.#logins = kept
    this.#lost++
    if (this.#lost < MANY) return false
    this.#watching = false
    this.#logins = []
    return true
  }
}

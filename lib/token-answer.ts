/** A token that was made for whoever asked. */
export interface TokenAnswer {
  readonly token: string
  readonly jti: string
  /** Seconds from its issue to its end. */
  readonly expiresInS: number
  /** What it grants, one word an element. */
  readonly scope: readonly string[]
}

/*
 * The client's half of a session. The access token is in this module's memory and nowhere else; what
 * outlives the page are the two HttpOnly cookies, which no script can read.
 */
import { post, problemOf, request, sleep } from './http.js'

/** A token is renewed when it has less than this to live: no request should arrive with a dead one. */
const EARLY_MS = 30_000
const MAX_TRIES = 4
const MAX_WAIT_MS = 10_000
const LOCK = 'latchkey-cookies'

/** 401s which a new access token does not heal. */
const NOT_THE_TOKEN = new Set(['step_up_required', 'invalid_credentials', 'stale_login'])

/** `{ token, expiresAt }`, the latter by the page's monotonic clock: wall clocks jump. */
let access = null
let refreshing = null

/**
 * Runs what writes cookies, one at a time over all tabs of this browser. Otherwise the late answer to
 * a refresh could put the old cookies over those of a new login. And of many tabs that wake up at
 * once, the slowest would send a token that the others have used twice over, which looks like theft.
 */
export function alone(task) {
  return navigator.locks.request(LOCK, task)
}

const tabs = new BroadcastChannel('latchkey-example')

/** A refresh failed, and may work later. The session goes on. */
export class Unavailable extends Error {
  name = 'Unavailable'
}

/** When the token in memory expires, by `performance.now()`; null when there is none. */
export function expiresAt() {
  return access?.expiresAt ?? null
}

/** Takes over the answer of login, refresh or step-up. */
export function adopt({ access_token: token, expires_in: seconds, session }) {
  access = { token, expiresAt: performance.now() + seconds * 1000 }
  const { userId } = document.body.dataset
  // Another tab logged somebody else in: this page is about the wrong person.
  if (userId !== undefined && userId !== session.user_id) location.reload()
  document.dispatchEvent(new CustomEvent('latchkey:session', { detail: session }))
}

/** The token in memory, or a new one when it is missing or about to expire. */
export async function accessToken() {
  const isFresh = access !== null && access.expiresAt - performance.now() > EARLY_MS
  if (!isFresh || refreshing !== null) await refresh()
  return access.token
}

/**
 * A request with the access token. A token that is refused is renewed and sent once more. The
 * requests themselves go `through` a function such as `alone`, the renewal between them does not.
 */
export async function call(path, { method = 'GET', body, through = (task) => task() } = {}) {
  const token = await accessToken()
  const response = await through(() => send(path, method, body, token))
  if (response.status !== 401) return response
  const { code } = await problemOf(response)
  if (NOT_THE_TOKEN.has(code)) return response
  // Unless another request of this page has renewed it in the meantime.
  if (access?.token === token) await refresh()
  const newToken = await accessToken()
  return through(() => send(path, method, body, newToken))
}

function send(path, method, body, token) {
  return request(method, path, body, { Authorization: `Bearer ${token}` })
}

/** Renews the access token. All who ask meanwhile share one request. */
export function refresh() {
  refreshing ??= renew().finally(() => {
    refreshing = null
  })
  return refreshing
}

async function renew() {
  // The same key for every try: whichever of them arrives, they are one attempt to the server.
  const headers = { 'Idempotency-Key': crypto.randomUUID() }
  for (let tries = 1; tries <= MAX_TRIES; tries++) {
    const response = await alone(() => post('/auth/refresh', undefined, headers)).catch(() => null)
    if (response?.ok) {
      const answer = await response.json().catch(() => null)
      if (answer !== null) return adopt(answer)
    }
    const problem = response === null || response.ok ? null : await problemOf(response)
    // Only this word ends a session: not a status, not a broken line, not a proxy's page.
    if (problem?.outcome === 'terminal') return leave('elsewhere')
    const waitMs = problem?.retryAfterMs ?? 250 * 2 ** tries
    if (tries < MAX_TRIES) await sleep(Math.min(waitMs, MAX_WAIT_MS) * (1 + Math.random() / 4))
  }
  throw new Unavailable('The server does not answer at the moment. You are still logged in.')
}

/** Forgets the token and shows the login form. Never resolves: the page is on its way out. */
export function leave(reason) {
  access = null
  location.replace(`${location.pathname}?ended=${reason}`)
  return new Promise(() => {})
}

/** Tells the other tabs of this browser to look whether they are still logged in. */
export function tellTabs() {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a channel has one origin
  tabs.postMessage('look')
}

/** Looks after the session whenever somebody may have ended it unseen. */
export function watch() {
  tabs.addEventListener('message', look)
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState === 'visible') look()
  })
  // A page from the back-forward cache comes with an old memory.
  addEventListener('pageshow', (event) => {
    if (event.persisted) look()
  })
}

function look() {
  // What cannot be asked now is asked again at the next look.
  call('/auth/session').catch(() => {})
}

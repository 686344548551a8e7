const TIMEOUT_MS = 15_000

/** What a failure says of itself (RFC 9457). A body that is no problem document says nothing. */
export async function problemOf(response) {
  let body = null
  try {
    body = await response.clone().json()
  } catch {
    // Not JSON: a proxy's page, perhaps.
  }
  const { code = null, outcome = null } = body ?? {}
  return { status: response.status, code, outcome, retryAfterMs: retryAfterMs(response) }
}

/** `Retry-After` in milliseconds, from seconds or from a date (RFC 9110 §10.2.3), or null. */
function retryAfterMs(response) {
  const value = response.headers.get('Retry-After')
  if (value === null) return null
  const ms = /^\d+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - Date.now()
  return Number.isNaN(ms) ? null : Math.max(0, ms)
}

/** A failure in words for whoever sits in front of it. */
export function explain({ status, code, retryAfterMs: waitMs }) {
  if (code === 'invalid_credentials') return 'The user name or the password is wrong.'
  if (code === 'stale_login') return 'Your sessions were ended just now. Please try again.'
  if (code === 'session_limit') return 'You are logged in on too many devices.'
  if (status === 429) {
    const seconds = Math.ceil((waitMs ?? 60_000) / 1000)
    return `That was too often. Please try again in ${seconds} s.`
  }
  if (status === 503) return 'The server cannot check this at the moment. Please try again.'
  return `That did not work (${code ?? status}). Please try again.`
}

/** Sends JSON, or nothing, with this origin's cookies. Rejects when no answer comes in time. */
export function request(method, path, body, headers = {}) {
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  if (body === undefined) return fetch(path, { method, headers, signal })
  return fetch(path, {
    method,
    headers: { ...headers, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  })
}

export function post(path, body, headers) {
  return request('POST', path, body, headers)
}

export function sleep(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

import { byId, onClick, say } from './dom.js'
import { problemOf, sleep } from './http.js'
import { accessToken, expiresAt, refresh } from './session.js'

const PERIOD_MS = 2000
/** The one route that is called with the cookie alone. */
const BY_COOKIE = new Set(['/api/public', '/api/session'])

let isPaused = false
let refreshes = 0
let wasRefused = false

document.addEventListener('latchkey:session', () => {
  refreshes++
  byId('refreshes').textContent =
    refreshes === 1 ? 'once by this page' : `${refreshes} times by this page`
})

onClick(byId('pause'), () => {
  isPaused = !isPaused
  byId('pause').ariaPressed = String(isPaused)
})

onClick(byId('refresh'), async () => {
  await refresh()
  say('The access token is renewed.')
  await look()
})

/** Calls every route as it is: a refusal is shown, not healed. */
async function look() {
  const token = await accessToken()
  const rows = [...document.querySelectorAll('[data-path]')]
  const statuses = await Promise.all(rows.map((row) => lookAt(row, token)))
  const isRefused = statuses.includes(401)
  if (isRefused && !wasRefused)
    say('This session is refused now. “Refresh now” leads to the login.')
  if (!isRefused && wasRefused) say('')
  wasRefused = isRefused
}

async function lookAt(row, token) {
  const { path } = row.dataset
  const headers = BY_COOKIE.has(path) ? {} : { Authorization: `Bearer ${token}` }
  const response = await fetch(path, { headers }).catch(() => null)
  const [badge, note] = row.querySelectorAll('.outcome > span')
  badge.textContent = response === null ? 'no answer' : String(response.status)
  badge.className = `badge ${response?.ok ? 'good' : 'bad'}`
  note.textContent = response === null ? '' : await noteOf(response)
  return response?.status ?? 0
}

async function noteOf(response) {
  if (!response.ok) return (await problemOf(response)).code?.replaceAll('_', ' ') ?? ''
  const { kind, checked } = await response.json()
  if (kind === undefined) return ''
  return checked ? `${kind}, store asked` : `${kind}, store not asked`
}

function showExpiry() {
  const at = expiresAt()
  const seconds = at === null ? 0 : Math.max(0, Math.round((at - performance.now()) / 1000))
  byId('expires').textContent =
    at === null ? 'no token yet' : `${Math.floor(seconds / 60)} min ${seconds % 60} s`
}

async function run() {
  for (;;) {
    // The token is kept fresh here as everywhere. What cannot be asked now is asked in two seconds.
    if (!isPaused && !document.hidden) await look().catch((err) => say(err.message))
    await sleep(PERIOD_MS)
  }
}

setInterval(showExpiry, 1000)
await run()

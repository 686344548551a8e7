import { deviceName } from './device-name.js'
import { byId, onClick, say } from './dom.js'
import { explain, post, problemOf } from './http.js'
import { call, leave, tellTabs, watch } from './session.js'

const list = byId('devices')
const more = byId('more')
let cursor = null

onClick(byId('log-out'), async () => {
  // Without the access token: the cookies are what has to go.
  if (await worked(await post('/auth/logout'))) await leaveAll('here')
})

onClick(byId('log-out-everywhere'), async () => {
  if (await worked(await call('/auth/logout-all', { method: 'POST' }))) await leaveAll('everywhere')
})

onClick(byId('log-out-others'), async () => {
  const response = await call('/auth/sessions', { method: 'DELETE' })
  if (!(await worked(response))) return
  const { revoked } = await response.json()
  say(
    revoked === 1 ? 'One other device is logged out.' : `${revoked} other devices are logged out.`,
  )
  await showDevices(null)
})

onClick(more, () => showDevices(cursor))

/** Shows the list anew, or the next part of it. */
async function showDevices(from) {
  const query = from === null ? '' : `?${new URLSearchParams({ cursor: from })}`
  const response = await call(`/auth/sessions${query}`)
  if (!(await worked(response))) return
  const { sessions, next_cursor: next = null } = await response.json()
  const items = sessions.map((session) => deviceOf(session))
  if (from === null) list.replaceChildren(...items)
  else list.append(...items)
  list.ariaBusy = 'false'
  cursor = next
  more.hidden = next === null
}

function deviceOf(session) {
  const item = byId('device').content.cloneNode(true).querySelector('li')
  const name = deviceName(session.device.label)
  const logOut = item.querySelector('.log-out-device')
  item.dataset.sessionId = session.id
  item.querySelector('.label').textContent = name
  item.querySelector('.label').title = session.device.label ?? ''
  item.querySelector('.ip').textContent = session.device.ip ?? 'address unknown'
  showTime(item.querySelector('.seen'), session.last_seen_at)
  showTime(item.querySelector('.since'), session.created_at)
  item.querySelector('.badge').hidden = !session.current
  logOut.hidden = session.current
  logOut.ariaLabel = `Log out ${name}, ${session.device.ip ?? ''}`
  onClick(logOut, () => logOutDevice(session.id, name, item))
  return item
}

async function logOutDevice(id, name, item) {
  const response = await call(`/auth/sessions/${id}`, { method: 'DELETE' })
  // 404: somebody else was faster.
  if (response.status !== 404 && !(await worked(response))) return
  item.remove()
  say(`${name} is logged out.`)
  // The button that had the focus is gone.
  byId('devices-title').focus()
}

function showTime(element, iso) {
  const instant = new Date(iso)
  element.dateTime = iso
  element.title = instant.toLocaleString()
  const minutes = Math.round((Date.now() - instant.getTime()) / 60_000)
  const format = new Intl.RelativeTimeFormat('en', { numeric: 'auto' })
  if (minutes < 1) element.textContent = 'just now'
  else if (minutes < 60) element.textContent = format.format(-minutes, 'minute')
  else if (minutes < 1440) element.textContent = format.format(-Math.round(minutes / 60), 'hour')
  else element.textContent = format.format(-Math.round(minutes / 1440), 'day')
}

async function worked(response) {
  if (!response.ok) say(explain(await problemOf(response)))
  return response.ok
}

function leaveAll(reason) {
  tellTabs()
  return leave(reason)
}

document.addEventListener('latchkey:session', ({ detail }) => {
  // A step-up in another tab has put a new session in the old one's place.
  byId('session-id').textContent = detail.id
})
watch()
await showDevices(null).catch(() => say('The server cannot be reached. Try again.'))

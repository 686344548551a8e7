import { deviceName } from './device-name.js'
import { byId, onClick, onSubmit, say } from './dom.js'
import { explain, problemOf } from './http.js'
import { call, watch } from './session.js'
import { stepUp } from './step-up.js'

const rows = byId('events')
const more = byId('more')
let filter = {}
let cursor = null

onSubmit(byId('filter'), async ({ user, type }) => {
  filter = { ...(user !== '' && { user_id: user }), ...(type !== '' && { type }) }
  await showEvents(null)
})

onClick(more, () => showEvents(cursor))

/** Shows the trail anew, or the next part of it. */
async function showEvents(from) {
  say('')
  const response = await ask(from === null ? filter : { ...filter, cursor: from })
  if (response === null) return
  const { events, next_cursor: next } = await response.json()
  const items = events.map((event) => rowOf(event))
  if (from === null) rows.replaceChildren(...items)
  else rows.append(...items)
  rows.ariaBusy = 'false'
  cursor = next
  more.hidden = next === null
  if (from === null && items.length === 0) say('Nothing of the kind has happened.')
}

/** The answer, or null when it was said why there is none. */
async function ask(query) {
  const path = `/auth/audit?${new URLSearchParams(query)}`
  let response = await call(path)
  if (!response.ok && (await problemOf(response)).code === 'step_up_required') {
    if (!(await stepUp())) {
      say('Nothing is shown without a fresh login.')
      return null
    }
    response = await call(path)
  }
  if (response.ok) return response
  say(explain(await problemOf(response)))
  return null
}

/** Everything is put in as text: some of it came from whoever sent the request. */
function rowOf(event) {
  const row = byId('event').content.cloneNode(true).querySelector('tr')
  const put = (name, text) => {
    row.querySelector(`.${name}`).textContent = text ?? ''
  }
  const at = row.querySelector('.at')
  at.dateTime = event.at
  at.textContent = new Date(event.at).toLocaleString()
  const badge = row.querySelector('.badge')
  badge.textContent = event.result
  badge.className = `badge ${event.result === 'success' ? 'good' : 'bad'}`
  put('type', event.type)
  put('cause', event.cause?.replaceAll('_', ' '))
  put('user', nameOf(event))
  put('session', event.session_id)
  put('ip', event.ip)
  put('agent', event.user_agent === null ? '' : deviceName(event.user_agent))
  return row
}

function nameOf({ user_id: user, actor_id: actor }) {
  if (actor === null) return user
  return user === null ? actor : `${user}, by ${actor}`
}

watch()
await showEvents(null).catch(() => say('The server cannot be reached. Try again.'))

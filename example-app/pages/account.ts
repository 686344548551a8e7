import { html } from './html.ts'
import type { Html } from './html.ts'
import type { Viewer } from './layout.ts'

/** Who is logged in, and where else. The list of devices is filled in by `account.js`. */
export function accountPage({ userId, sessionId, roles, level }: Viewer): Html {
  return html`<section class="card" aria-labelledby="who">
      <h2 id="who">Who you are</h2>
      <dl class="facts">
        <dt>User</dt>
        <dd>${userId}</dd>
        <dt>Roles</dt>
        <dd>${roles.length > 0 ? roles.join(', ') : 'none'}</dd>
        <dt>Level</dt>
        <dd>${level ?? 'none'}</dd>
        <dt>Session</dt>
        <dd><code id="session-id">${sessionId}</code></dd>
      </dl>
      <button id="log-out" class="primary">Log out here</button>
    </section>
    <section class="card" aria-labelledby="devices-title">
      <h2 id="devices-title" tabindex="-1">Your devices</h2>
      <p>Every login is a session of its own. What you log out here loses access at once.</p>
      <ul id="devices" class="devices" aria-busy="true"></ul>
      <div class="actions">
        <button id="more" hidden>Show more devices</button>
        <button id="log-out-others">Log out the others</button>
        <button id="log-out-everywhere" class="danger">Log out everywhere</button>
      </div>
    </section>
    <template id="device">
      <li>
        <div>
          <p class="device">
            <strong class="label"></strong> <span class="badge" hidden>This device</span>
          </p>
          <p class="quiet">
            <span class="ip"></span> · seen <time class="seen"></time> · logged in
            <time class="since"></time>
          </p>
        </div>
        <button class="log-out-device">Log out</button>
      </li>
    </template>`
}

import { html } from './html.ts'
import type { Html } from './html.ts'
import type { Viewer } from './layout.ts'
import { stepUpDialog } from './step-up.ts'

const WHY = 'Others may look at what people did only right after logging in. You stay on this page.'

/** Who did what, for admins. The table is filled in by `audit.js`. */
export function auditPage({ userId }: Viewer): Html {
  return html`<form id="filter" class="card narrow" method="post">
      <label for="user">User, or everybody</label>
      <input id="user" name="user" autocomplete="off" autocapitalize="none" maxlength="255" />
      <label for="type">Event, or any</label>
      <input
        id="type"
        name="type"
        autocomplete="off"
        autocapitalize="none"
        placeholder="authn_login_fail"
        pattern="[a-z_]{1,64}"
      />
      <button class="primary">Show</button>
    </form>
    <section class="card" aria-labelledby="trail-title">
      <h2 id="trail-title" tabindex="-1">What happened, newest first</h2>
      <p>What somebody does is here within a second. Looking is an event, too.</p>
      <div class="scroll" role="region" aria-labelledby="trail-title" tabindex="0">
        <table>
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Event</th>
              <th scope="col">User</th>
              <th scope="col">From</th>
            </tr>
          </thead>
          <tbody id="events" aria-busy="true"></tbody>
        </table>
      </div>
      <div class="actions">
        <button id="more" hidden>Show more</button>
      </div>
    </section>
    <template id="event">
      <tr>
        <td><time class="at"></time></td>
        <td>
          <span class="badge"></span>
          <code class="type"></code>
          <span class="quiet cause"></span>
        </td>
        <td>
          <span class="user"></span>
          <span class="quiet session"></span>
        </td>
        <td>
          <span class="ip"></span>
          <span class="quiet agent"></span>
        </td>
      </tr>
    </template>
    ${stepUpDialog(userId, WHY)}`
}

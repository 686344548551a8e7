import { html } from './html.ts'
import type { Html } from './html.ts'

const CALLS = [
  ['/api/public', 'no guard', 'Nobody is asked.'],
  ['/api/session', 'requireSession', 'The cookie; the store is asked.'],
  ['/api/jwt', 'requireJwt', 'The access token; signature and feed.'],
  ['/api/hybrid', 'hybridGuard', 'The access token; now and then the store.'],
] as const

/** Calls each guard every two seconds, so that one can watch a logout from elsewhere arrive. */
export function livePage(): Html {
  const rows = CALLS.map(
    ([path, guard, how]) =>
      html`<tr data-path="${path}">
        <th scope="row"><code>${path}</code><span class="quiet">${guard}. ${how}</span></th>
        <td class="outcome"><span class="badge">…</span><span class="quiet"></span></td>
      </tr>`,
  )
  return html`<section class="card" aria-labelledby="calls">
      <h2 id="calls">Each guard, every two seconds</h2>
      <p>Log this device out from another browser, and watch the three guards refuse it.</p>
      <table>
        <thead>
          <tr>
            <th scope="col">Route and guard</th>
            <th scope="col">Answer</th>
          </tr>
        </thead>
        <tbody>
          ${rows}
        </tbody>
      </table>
      <div class="actions">
        <button id="pause" aria-pressed="false">Pause</button>
        <button id="refresh">Refresh now</button>
      </div>
    </section>
    <section class="card" aria-labelledby="token">
      <h2 id="token">The access token</h2>
      <p>It is in the memory of this page only, and is renewed shortly before it expires.</p>
      <dl class="facts">
        <dt>Expires in</dt>
        <dd id="expires">no token yet</dd>
        <dt>Refreshed</dt>
        <dd id="refreshes">0 times by this page</dd>
      </dl>
    </section>`
}

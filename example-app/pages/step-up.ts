import { html } from './html.ts'
import type { Html } from './html.ts'

/** The dialog that asks for the password again. `step-up.js` opens it. */
export function stepUpDialog(userId: string, why: string): Html {
  return html`<dialog id="step-up" aria-labelledby="step-up-title" aria-describedby="step-up-why">
    <form id="step-up-form" method="post">
      <h2 id="step-up-title">Confirm that it is you</h2>
      <p id="step-up-why">${why}</p>
      <p id="step-up-error" class="notice problem" role="alert"></p>
      <input name="username" autocomplete="username" value="${userId}" readonly hidden />
      <label for="step-up-password">Password of ${userId}</label>
      <input
        id="step-up-password"
        name="password"
        type="password"
        autocomplete="current-password"
        required
        aria-describedby="step-up-error"
      />
      <div class="actions">
        <button class="primary">Confirm</button>
        <button id="step-up-cancel" type="button">Cancel</button>
      </div>
    </form>
  </dialog>`
}

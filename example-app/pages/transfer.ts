import { html } from './html.ts'
import type { Html } from './html.ts'

/** A form that wants a fresh login, and the dialog that asks for one. */
export function transferPage(userId: string): Html {
  return html`<form id="transfer" class="card narrow" method="post">
      <p>Money moves only after a fresh login. If yours is old, you are asked for your password.</p>
      <p id="transfer-error" class="notice problem" role="alert"></p>
      <label for="to">To</label>
      <input id="to" name="to" value="bob" autocomplete="off" maxlength="100" required />
      <label for="amount">Amount in coins</label>
      <input
        id="amount"
        name="amount"
        type="number"
        value="25"
        min="1"
        max="10000"
        step="1"
        inputmode="numeric"
        required
      />
      <button id="transfer-button" class="primary">Transfer</button>
    </form>
    <dialog id="step-up" aria-labelledby="step-up-title" aria-describedby="step-up-why">
      <form id="step-up-form" method="post">
        <h2 id="step-up-title">Confirm that it is you</h2>
        <p id="step-up-why">
          This needs a fresh login. You stay on this page, and your transfer is kept.
        </p>
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

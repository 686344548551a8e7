import { html } from './html.ts'
import type { Html } from './html.ts'
import { stepUpDialog } from './step-up.ts'

const WHY = 'This needs a fresh login. You stay on this page, and your transfer is kept.'

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
    ${stepUpDialog(userId, WHY)}`
}

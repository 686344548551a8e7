import { html } from './html.ts'
import type { Html } from './html.ts'

/** Why somebody sees the login page who may have expected another one. */
const REASONS = {
  here: 'You are logged out.',
  everywhere: 'You are logged out on every device.',
  elsewhere:
    'Your session has ended: it was logged out from another place, or it had been idle for too long. Please log in again.',
  needed: 'Please log in to see this page.',
} as const

/** The login form. It never falls back to a GET, which would put the password into the address. */
export function loginPage(reason: unknown): Html {
  const message = Object.entries(REASONS).find(([name]) => name === reason)?.[1] ?? null
  return html`${message !== null && html`<p class="notice" role="status" id="reason">${message}</p>`}
    <form id="login" class="card narrow" method="post" action="/auth/login">
      <p id="login-error" class="notice problem" role="alert"></p>
      <label for="username">User name</label>
      <input
        id="username"
        name="username"
        autocomplete="username"
        autocapitalize="none"
        spellcheck="false"
        required
        autofocus
      />
      <label for="password">Password</label>
      <input
        id="password"
        name="password"
        type="password"
        autocomplete="current-password"
        required
        aria-describedby="login-error"
      />
      <button class="primary">Log in</button>
    </form>
    <details class="narrow">
      <summary>Who can log in here?</summary>
      <dl class="facts">
        <dt>alice</dt>
        <dd><code>wonderland-7</code></dd>
        <dt>bob</dt>
        <dd><code>builder-7</code></dd>
        <dt>root</dt>
        <dd><code>admin-only-7</code>, the admin</dd>
      </dl>
    </details>`
}

import { html } from './html.ts'
import type { Html } from './html.ts'
import { THEMES } from './theme.ts'
import type { Theme } from './theme.ts'

/** Who looks at the page, as its guard found out. */
export interface Viewer {
  readonly userId: string
  readonly sessionId: string
  readonly roles: readonly string[]
  readonly level: string | null
}

/** One page. */
export interface Page {
  readonly title: string
  readonly path: string
  readonly main: Html
  /** The page's own module in `public/`, without `.js`. */
  readonly script: string
  readonly theme: Theme
  /** Null on the login page. */
  readonly viewer: Viewer | null
}

const LINKS = [
  ['/', 'Account'],
  ['/live', 'Live view'],
  ['/transfer', 'Transfer'],
] as const

const ADMIN_LINKS = [['/audit', 'Audit trail']] as const

/** The whole document. */
export function layout({ title, path, main, script, theme, viewer }: Page): string {
  const document = html`<!doctype html>
<html lang="en" data-theme="${theme}">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <title>${title} · latchkey example</title>
    <link rel="icon" href="/assets/icon.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/assets/style.css">
    <script type="module" src="/assets/${script}.js"></script>
  </head>
  <body${viewer && html` data-user-id="${viewer.userId}"`}>
    <a class="skip" id="skip" href="#main">Skip to the content</a>
    <header class="bar">
      <a class="brand" href="/"><img src="/assets/icon.svg" alt="" width="28" height="28">latchkey</a>
      ${viewer && navigation(path, viewer)}
    </header>
    <main id="main" tabindex="-1">
      <h1>${title}</h1>
      <noscript><p class="notice problem">These pages need JavaScript: the access token lives in a script's memory.</p></noscript>
      ${main}
      <p id="status" class="notice" role="status" aria-live="polite"></p>
    </main>
    <footer class="foot">
      ${themeForm(path, theme)}
      <p>An example of the latchkey kit. Nothing here is worth stealing.</p>
    </footer>
  </body>
</html>
`
  return document.text
}

function navigation(path: string, { roles }: Viewer): Html {
  const links = [...LINKS, ...(roles.includes('admin') ? ADMIN_LINKS : [])]
  const items = links.map(
    ([href, text]) =>
      html`<li>
        <a href="${href}" ${href === path ? html` aria-current="page"` : null}>${text}</a>
      </li>`,
  )
  return html`<nav aria-label="Pages">
    <ul>
      ${items}
    </ul>
  </nav>`
}

function themeForm(path: string, theme: Theme): Html {
  const choices = THEMES.map(
    (name) =>
      html`<button name="theme" value="${name}" aria-pressed="${String(name === theme)}">
        ${name}
      </button>`,
  )
  return html`<form class="themes" method="post" action="/theme">
    <input type="hidden" name="page" value="${path}" />
    <fieldset>
      <legend>Colours</legend>
      ${choices}
    </fieldset>
  </form>`
}

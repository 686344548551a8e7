/** After so long an operator wonders what a process that starts is doing. */
const SILENT_MS = 10_000

/**
 * Waits for what a process needs before it serves, and keeps the process meanwhile: what tries again does
 * so by timers that let it end, so with nothing else to do it would exit without a word. Once, after ten
 * seconds, it says that it waits.
 *
 * @param work - what is waited for; it must settle when whoever does it is closed
 * @param failure - why it takes so long: the latest error, undefined for none
 * @param say - takes one sentence
 */
export async function waitAloud(
  work: Promise<unknown>,
  failure: () => unknown,
  say: (message: string) => void,
): Promise<void> {
  const stay = () => {
    timer = setTimeout(stay, SILENT_MS)
  }
  let timer = setTimeout(() => {
    say(`latchkey: ready() has waited for ${SILENT_MS / 1000} s${becauseOf(failure())}`)
    stay()
  }, SILENT_MS)
  try {
    await work
  } finally {
    clearTimeout(timer)
  }
}

function becauseOf(error: unknown): string {
  return error === undefined ? '' : `; the last failure: ${reasonOf(error)}`
}

/** Causes may lead back to where they began. */
const MAX_CAUSES = 4

/** An error and its causes; of those that only gather others, such as a refused connection's, the code. */
function reasonOf(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return typeof error
  const code = 'code' in error ? String(error.code) : error.name
  const own = error.message === '' ? code : error.message
  const isLast = error.cause === undefined || depth === MAX_CAUSES
  return isLast ? own : `${own}: ${reasonOf(error.cause, depth + 1)}`
}

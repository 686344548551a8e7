import { warnProcess } from './process-warning.ts'

/**
 * Hands an event to the app's sink. What the sink throws, at once or later, decides nothing: it is a
 * warning of the process, where there is one.
 */
export function report<Event>(sink: ((event: Event) => unknown) | undefined, event: Event): void {
  if (sink === undefined) return
  try {
    Promise.resolve(sink(event)).catch(warn)
  } catch (error) {
    warn(error)
  }
}

function warn(error: unknown): void {
  const text = error instanceof Error ? error.message : typeof error
  warnProcess(`onEvent threw: ${text}`, 'on_event_failed')
}

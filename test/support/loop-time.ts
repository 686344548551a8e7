import { monitorEventLoopDelay } from 'node:perf_hooks'

const STEP_MS = 10

const monitor = monitorEventLoopDelay({ resolution: STEP_MS })
monitor.enable()

/**
 * Milliseconds of this process's event loop. It stands still while the machine runs others: a pause of any
 * length is one step, so that what is due in time is found in time on a machine that stalls. Never ahead
 * of the real time; in a calm process hardly behind it.
 */
export function loopTime(): number {
  return monitor.count * STEP_MS
}

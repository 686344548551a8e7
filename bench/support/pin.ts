import { execFileSync } from 'node:child_process'
import { availableParallelism } from 'node:os'

/** Where the measured processes run. */
export const SERVER_CORE = '0'
/** Where everything else runs: the load, the databases, the bench itself. */
export const LOAD_CORE = '1'

/** Where processes run that are measured together with their load. */
export const ALL_CORES: string = `0-${availableParallelism() - 1}`

let possible: boolean | undefined

/** Whether a process can be kept on one processor: Linux with `taskset`, and two processors. */
export function canPin(): boolean {
  possible ??= availableParallelism() > 1 && pin(process.pid, ALL_CORES)
  return possible
}

/** Keeps this process, and what it starts from now on, away from the measured ones. */
export function pinSelf(): boolean {
  return canPin() && pin(process.pid, LOAD_CORE)
}

/** Keeps a process with all of its threads on these processors; whether that could be done. */
export function pin(pid: number, cores: string): boolean {
  try {
    execFileSync('taskset', ['-a', '-c', '-p', cores, String(pid)], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

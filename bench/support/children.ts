import type { ChildProcess, ForkOptions } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { canPin, pin } from './pin.ts'

/** A process that is not ready by then never will be. */
const START_TIMEOUT_MS = 60_000

/** A process that answers each question with one answer; both travel as JSON. */
export interface Child {
  ask<Answer>(question: unknown): Promise<Answer>
  /** Keeps it on these processors from now on, where that can be had. */
  pin(cores: string): void
  stop(): Promise<void>
}

/** Runs a file of `bench/` with the loader this process has, and waits until it is ready. */
export async function startChild(file: string, ...args: string[]): Promise<Child> {
  return startFork(file, args, {})
}

/** The same, on these processors only, where that can be had. */
export async function startPinnedChild(
  cores: string,
  file: string,
  ...args: string[]
): Promise<Child> {
  if (!canPin()) return startChild(file, ...args)
  const execArgv = ['-c', cores, process.execPath, ...process.execArgv]
  return startFork(file, args, { execPath: 'taskset', execArgv })
}

async function startFork(file: string, args: string[], options: ForkOptions): Promise<Child> {
  const child = fork(fileURLToPath(new URL(`../${file}`, import.meta.url)), args, options)
  // Its end is what is waited for then.
  const late = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS)
  await nextMessage(child)
  clearTimeout(late)
  return {
    async ask<Answer>(question: unknown) {
      const text = nextMessage(child)
      child.send(JSON.stringify(question))
      const answer: Answer = JSON.parse(await text)
      return answer
    },
    pin(cores) {
      if (canPin() && child.pid !== undefined) pin(child.pid, cores)
    },
    async stop() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill()
      await once(child, 'exit')
    },
  }
}

async function nextMessage(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const onExit = () =>
      reject(new Error(`a child process has ended: ${child.spawnargs.join(' ')}`))
    child.once('exit', onExit)
    child.once('message', (text) => {
      child.off('exit', onExit)
      resolve(typeof text === 'string' ? text : '')
    })
  })
}

/** The other side: says that it is ready, then answers. It ends with its parent. */
export function serveParent<Question>(answer: (question: Question) => Promise<unknown>): void {
  const send = (value: unknown) => process.send?.(JSON.stringify(value))
  process.on('disconnect', () => process.exit())
  process.on('message', (text) => {
    const question: Question = JSON.parse(typeof text === 'string' ? text : '')
    void answer(question).then(send)
  })
  send('ready')
}

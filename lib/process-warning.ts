/** A warning of the process, where there is one: other runtimes than Node have none. */
export function warnProcess(message: string, code: string): void {
  const host: { process?: Pick<NodeJS.Process, 'emitWarning'> } = globalThis
  host.process?.emitWarning(message, 'LatchkeyWarning', code)
}

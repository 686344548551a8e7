import { generateServiceSecret } from '../../lib/service-secrets.ts'
import type { Command } from './command.ts'
import { parseOptions } from './command.ts'

/** `npx latchkey service-secret` */
export const serviceSecretCommand: Command = {
  summary: 'draws a secret for a service, and the hash of it for serviceSecrets',
  help: `Usage: npx latchkey service-secret

Prints two lines: the secret, for the service and for nobody else, and the hash, for serviceSecrets
in the app. Nothing is kept.
`,
  async run(args, io) {
    parseOptions(args, {})
    const { secret, hash } = generateServiceSecret()
    io.print(`secret ${secret}\nhash   ${hash}\n`)
  },
}

import type { Doctor } from './doctor.ts'
import { ConfigError } from './errors.ts'
import type { Events } from './events.ts'
import { finding } from './findings.ts'
import type { KeyReports } from './managed-signing-keys.ts'

/** Tells the app and the audit trail what becomes of the keys. */
export function reportKeys(to: {
  readonly events: Events
  readonly doctor: Doctor
  readonly onGone: () => void
}): KeyReports {
  const { events, doctor, onGone } = to
  return {
    rotated({ kid, alg, activeAt }, cause) {
      const detail = { kid, alg, active_at: new Date(activeAt ?? 0).toISOString() }
      events.security('signing_key_rotated', { result: 'success', cause, detail })
    },
    retired(kid) {
      events.security('signing_key_retired', { result: 'success', detail: { kid } })
    },
    gone: onGone,
    failed(error) {
      // Said once: what does not open now will not open in a minute either.
      if (error instanceof ConfigError) {
        doctor.noteOnce(finding('signing_keys_unreadable', error.message.replace('latchkey: ', '')))
      }
      events.operational('store_failure', { result: 'failure', cause: 'keys', error })
    },
  }
}

import type { Algorithm } from './access-token-format.ts'

/** Algorithms a service can sign its assertions with; the key names one, the assertion never does. */
export const ASSERTION_ALGORITHMS: readonly Algorithm[] = ['ES256', 'EdDSA', 'PS256', 'RS256']

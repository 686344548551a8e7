import { describe } from '@jest/globals'
import { describeAuditWithChange } from './contract/audit-with-change.ts'
import { describeCheck } from './contract/check.ts'
import { describeCreate } from './contract/create.ts'
import { describeFeed } from './contract/feed.ts'
import { describeIdentity } from './contract/identity.ts'
import { describeLifetime } from './contract/lifetime.ts'
import { describeList } from './contract/list.ts'
import { describeReplace } from './contract/replace.ts'
import { describeRevoke } from './contract/revoke.ts'
import { describeRotate } from './contract/rotate.ts'
import { describeAudit, describeKeys, describeLimit } from './contract/service.ts'
import type { OpenStore } from './contract/support.ts'
import { useStore } from './contract/support.ts'
import { describeUpdate } from './contract/update.ts'

export type { OpenedStore, OpenStore, TestClock } from './contract/support.ts'
export { testClock } from './contract/support.ts'

/** Holds a store to each sentence of `lib/store.ts`. */
export function describeStore(name: string, open: OpenStore): void {
  describe(name, () => {
    const test = useStore(open)
    describeKeys(test)
    describeCreate(test)
    describeReplace(test)
    describeLifetime(test)
    describeCheck(test)
    describeRotate(test)
    describeUpdate(test)
    describeRevoke(test)
    describeList(test)
    describeIdentity(test)
    describeLimit(test)
    describeAudit(test)
    describeAuditWithChange(test)
    describeFeed(test)
  })
}

import { byId, complain, onSubmit, say } from './dom.js'
import { explain, problemOf } from './http.js'
import { call, watch } from './session.js'
import { stepUp } from './step-up.js'

onSubmit(byId('transfer'), async ({ to, amount }) => {
  say('')
  complain(byId('transfer-error'), byId('amount'), '')
  const body = { to, amount: Number(amount) }
  let response = await call('/api/transfer', { method: 'POST', body })
  if (!response.ok && (await problemOf(response)).code === 'step_up_required') {
    if (!(await stepUp())) {
      say('Nothing was transferred.')
      return
    }
    response = await call('/api/transfer', { method: 'POST', body })
  }
  if (!response.ok) {
    complain(byId('transfer-error'), byId('amount'), explain(await problemOf(response)))
    return
  }
  const { transfer } = await response.json()
  say(`${transfer.amount} coins are on their way to ${transfer.to}.`)
})

watch()

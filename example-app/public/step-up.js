import { byId, complain, onSubmit } from './dom.js'
import { explain, problemOf } from './http.js'
import { adopt, alone, call } from './session.js'

const dialog = byId('step-up')
const form = byId('step-up-form')
const password = byId('step-up-password')
const alert = byId('step-up-error')

/**
 * Asks for the password again in a dialog. The browser keeps the focus inside it, closes it on
 * Escape, and gives the focus back to where it was.
 *
 * Says whether there is a fresh login now.
 */
export function stepUp() {
  complain(alert, password, '')
  form.reset()
  dialog.returnValue = ''
  dialog.showModal()
  password.focus()
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'done'), { once: true })
  })
}

onSubmit(form, async (credentials) => {
  complain(alert, password, '')
  try {
    const response = await call('/auth/step-up', {
      method: 'POST',
      body: credentials,
      through: alone,
    })
    if (!response.ok) {
      complain(alert, password, explain(await problemOf(response)))
      return
    }
    // A new session in the place of the old one: the old token has just died.
    adopt(await response.json())
    dialog.close('done')
  } catch {
    // The page's status line is behind the dialog.
    complain(alert, password, 'The server cannot be reached. Please try again.')
  }
})

byId('step-up-cancel').addEventListener('click', () => dialog.close())
dialog.addEventListener('close', () => {
  password.value = ''
})

import { byId, complain, onSubmit } from './dom.js'
import { explain, post, problemOf } from './http.js'
import { alone, tellTabs } from './session.js'

onSubmit(byId('login'), async (credentials) => {
  complain(byId('login-error'), byId('password'), '')
  const response = await alone(() => post('/auth/login', credentials))
  if (!response.ok) {
    complain(byId('login-error'), byId('password'), explain(await problemOf(response)))
    return
  }
  tellTabs()
  // The page that was asked for, without the reason for the login form.
  location.replace(location.pathname)
})

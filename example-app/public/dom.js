/** The element with this id. */
export function byId(id) {
  return document.getElementById(id)
}

/** Says something in the page's status line, which screen readers read out. */
export function say(text) {
  byId('status').textContent = text
}

/** Runs `handler` on a click, one at a time. What it throws is said in the status line. */
export function onClick(element, handler) {
  element.addEventListener('click', oneAtATime(element, handler))
}

/** Runs `handler` with the form's fields when it is sent, one at a time. */
export function onSubmit(form, handler) {
  form.addEventListener(
    'submit',
    oneAtATime(form, () => handler(Object.fromEntries(new FormData(form)))),
  )
}

// A busy control is marked, not disabled: a disabled one would lose the focus.
function oneAtATime(element, handler) {
  return async (event) => {
    event.preventDefault()
    if (element.ariaBusy === 'true') return
    element.ariaBusy = 'true'
    try {
      await handler()
    } catch (err) {
      say(err.name === 'Unavailable' ? err.message : 'The server cannot be reached. Try again.')
    } finally {
      element.ariaBusy = null
    }
  }
}

/** Shows a failure beside its field, and puts the cursor there. An empty text takes it away. */
export function complain(alert, field, text) {
  alert.textContent = text
  if (text === '') {
    field.removeAttribute('aria-invalid')
    return
  }
  field.setAttribute('aria-invalid', 'true')
  field.focus()
  field.select()
}

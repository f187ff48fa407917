/**
 * Lets a person see the password that they type.
 *
 * The button stays hidden where no script runs. The field is a password field again before the form is sent, so that no
 * browser keeps what was typed among the suggestions of an ordinary text field.
 */
const field = document.querySelector<HTMLInputElement>('#password')
const button = document.querySelector<HTMLButtonElement>('#show-password')

if (field && button) {
  button.hidden = false
  button.addEventListener('click', () => show(field, button, field.type === 'password'))
  field.form?.addEventListener('submit', () => show(field, button, false))
}

function show(field: HTMLInputElement, button: HTMLButtonElement, isShown: boolean): void {
  field.type = isShown ? 'text' : 'password'
  button.textContent = isShown ? 'Hide password' : 'Show password'
}

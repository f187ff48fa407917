/**
 * Shows the home page anew once the server that it tells about no longer starts or stops.
 *
 * Where the hub does not answer, the page stays as it is: it has a link to look again.
 */
const url = document.querySelector<HTMLElement>('#home')?.dataset.progressUrl

if (url !== undefined) {
  const events = new EventSource(url)
  events.addEventListener('message', event => {
    if (!isLast(String(event.data))) return
    events.close()
    location.reload()
  })
}

/** Of the events of a start or a stop, the last says `ready` or `failed`. */
function isLast(data: string): boolean {
  const event = JSON.parse(data) as { ready?: boolean; failed?: boolean }
  return event.ready === true || event.failed === true
}

/**
 * Takes a file instead of pasted text: it is read in the browser, so what is sent is the same text in both cases, and can be looked at
 * before. Without a script, people paste.
 */
const field = document.querySelector<HTMLElement>('#of-file')
const input = document.querySelector<HTMLInputElement>('#file')
const text = document.querySelector<HTMLTextAreaElement>('#text')

if (field && input && text) {
  field.hidden = false
  input.addEventListener('change', async () => {
    const file = input.files?.[0]
    if (file) text.value = decode(new Uint8Array(await file.arrayBuffer()))
  })
}

/** Spreadsheets write UTF-8, UTF-16 with a mark, or the code page of Windows. */
function decode(bytes: Uint8Array): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder('utf-16le').decode(bytes)
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder('utf-16be').decode(bytes)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return new TextDecoder('windows-1252').decode(bytes)
  }
}

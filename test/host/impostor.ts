/** A student's own program in the place of Jupyter's: Python that takes over the socket of the server it is started in. */

/** @param serve Python that defines `serve(client)`, which answers one connection in a thread of its own */
export function impostor(serve: string): string {
  return `
import os, socket, threading
path = os.environ["TLJH_SOCKET"]
os.rename(path, path + ".kept")
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
os.chmod(path, 0o660)
listener.listen(512)
${serve.trim()}
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
`
}

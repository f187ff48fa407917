/** A student's own program in the place of Jupyter's: Python that takes over the socket of the server it is started in. */

/**
 * It has taken over, and listens, when the socket of before is there as `.kept`.
 * @param serve Python that defines `serve(client)`, which answers one connection in a thread of its own
 */
export function impostor(serve: string): string {
  return `
import os, socket, threading
path = os.environ["TLJH_SOCKET"]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path + ".new")
os.chmod(path + ".new", 0o660)
listener.listen(512)
os.rename(path, path + ".old")
os.rename(path + ".new", path)
os.rename(path + ".old", path + ".kept")
${serve.trim()}
while True:
    threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
`
}

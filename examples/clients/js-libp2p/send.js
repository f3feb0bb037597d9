// Sends messages to a published cell that echoes them, many at a time, and checks every reply.
//
// usage: node --import ./polyfill.js send.js <multiaddr>/p2p/<peer id>/<name> [messages] [in flight]
//
// One message is one stream on /ww/0.1.0/<name>: write, close the writing side, read up to the end.

import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const [target, messages = '1000', inFlight = '32'] = process.argv.slice(2)
const at = target?.lastIndexOf('/') ?? -1
if (at < 1) {
  console.error('usage: node --import ./polyfill.js send.js <multiaddr>/p2p/<peer id>/<name> [messages] [in flight]')
  process.exit(64)
}
const [address, name] = [multiaddr(target.slice(0, at)), target.slice(at + 1)]

// Of many sizes, and no two the same.
const message = (number) => new TextEncoder().encode(`message ${number} ${'x'.repeat((number * 37) % 5000)}`)

async function send (connection, body) {
  const stream = await connection.newStream(`/ww/0.1.0/${name}`, { maxOutboundStreams: 1024 })
  const reading = (async () => {
    const chunks = []
    for await (const chunk of stream) {
      chunks.push(chunk.subarray())
    }
    return Buffer.concat(chunks)
  })()
  if (!stream.send(body)) {
    await stream.onDrain()
  }
  await stream.close()
  return reading
}

const client = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()]
})
try {
  const connection = await client.dial(address)
  const began = Date.now()
  let next = 0
  let wrong = 0
  const sender = async () => {
    while (next < Number(messages)) {
      const number = next++
      const body = message(number)
      const reply = await send(connection, body)
      if (Buffer.compare(reply, body) !== 0) {
        wrong++
        console.error(`message ${number}: ${reply.length} bytes came back of ${body.length}, or others`)
      }
    }
  }
  await Promise.all(Array.from({ length: Number(inFlight) }, sender))
  console.log(`${next} messages with ${inFlight} in flight: ${next - wrong} right, ${wrong} wrong, ${Date.now() - began} ms`)
  process.exitCode = wrong === 0 ? 0 : 1
} finally {
  await client.stop()
}

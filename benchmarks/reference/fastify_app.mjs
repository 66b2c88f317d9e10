// The same four requests by fastify and pg with prepared statements, written the plain way.
import { randomUUID } from 'node:crypto'

import { createVerifier } from 'fast-jwt'
import Fastify from 'fastify'
import pg from 'pg'

const pool = new pg.Pool({
  connectionString: process.env.DATABASE_URL,
  max: Number(process.env.DATABASE_POOL_SIZE)
})
const verify = createVerifier({ key: process.env.SECRET_KEY, algorithms: ['HS256'] })
const app = Fastify()

const text = { type: 'string' }
const optional = { type: ['string', 'null'] }
const time = { type: 'string', format: 'date-time' }
const object = (properties) => ({ type: 'object', properties })
const User = object({
  id: text,
  email: text,
  full_name: optional,
  role: text,
  is_active: { type: 'boolean' },
  created_at: time,
  updated_at: time
})
const Tags = { type: 'array', items: object({ name: text }) }
const Item = object({
  id: text, title: text, description: optional, tags: Tags, created_at: time, updated_at: time
})
const Items = object({ items: { type: 'array', items: Item } })
const limit = { type: 'integer', minimum: 1, maximum: 100, default: 20 }
const NewItem = { ...object({ title: text, description: optional }), required: ['title'] }

async function authenticate (request, reply) {
  let claims
  try {
    claims = verify((request.headers.authorization ?? '').replace('Bearer ', ''))
  } catch {
    return reply.code(401).send()
  }
  const { rows } = await pool.query({
    name: 'user',
    text: `SELECT id, email, full_name, role, is_active, created_at, updated_at
           FROM users WHERE id = $1 AND is_active`,
    values: [claims.sub]
  })
  if (!rows[0]) return reply.code(401).send()
  request.user = rows[0]
}

app.get('/health', { schema: { response: { 200: object({ status: text }) } } }, async () => (
  { status: 'ok' }
))

app.get('/users/me', {
  preHandler: authenticate, schema: { response: { 200: User } }
}, async (request) => request.user)

app.get('/items', {
  preHandler: authenticate,
  schema: { querystring: object({ limit }), response: { 200: Items } }
}, async (request) => {
  const { rows } = await pool.query({
    name: 'items',
    text: `SELECT id, title, description, created_at, updated_at, ARRAY(
             SELECT name FROM tags JOIN item_tags ON tag_id = tags.id
             WHERE item_id = items.id ORDER BY name) AS tags
           FROM items WHERE owner_id = $1 ORDER BY created_at DESC LIMIT $2`,
    values: [request.user.id, request.query.limit]
  })
  return { items: rows.map((row) => ({ ...row, tags: row.tags.map((name) => ({ name })) })) }
})

app.post('/items', {
  preHandler: authenticate, schema: { body: NewItem, response: { 201: Item } }
}, async (request, reply) => {
  const { rows } = await pool.query({
    name: 'create',
    text: `INSERT INTO items (id, owner_id, title, description, version, created_at, updated_at)
           VALUES ($1, $2, $3, $4, 1, now(), now())
           RETURNING id, title, description, created_at, updated_at`,
    values: [randomUUID(), request.user.id, request.body.title, request.body.description ?? null]
  })
  return reply.code(201).send({ ...rows[0], tags: [] })
})

await app.listen({ port: Number(process.env.PORT) })

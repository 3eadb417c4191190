// kafkajs behind JSON lines: one call per line on stdin, one answer per line on stdout.
// A call is {id, verb, handle, ...arguments}; an answer {id, result} or {id, error: {code, type, message}}.
// Bytes travel as base64. The Python side of this is tests/clients/adapters/kafkajs.py.

const readline = require('readline')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, KafkaJSProtocolError, logLevel } = require('kafkajs')
const snappy = require('kafkajs-snappy')
const lz4 = require('lz4js')
const xxhash = require('lz4js/xxh32.js')
const { ZstdCodec } = require('zstd-codec')

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: async encoder => withIndependentBlocks(Buffer.from(lz4.compress(encoder.buffer))),
  decompress: async buffer => Buffer.from(lz4.decompress(buffer)),
})
// Kafka reads no other frames. lz4js doesn't set the flag; below 4 MB it is true, as there is one block only.
function withIndependentBlocks(frame) {
  frame[4] |= 0x20
  frame[6] = (xxhash.hash(0, frame, 4, 2) >> 8) & 0xff
  return frame
}
const zstd = new Promise(resolve => ZstdCodec.run(module => resolve(new module.Simple())))
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from((await zstd).compress(encoder.buffer)),
  decompress: async buffer => Buffer.from((await zstd).decompress(buffer)),
})
const COMPRESSION = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const kafka = new Kafka({
  clientId: 'kafkajs',
  brokers: [process.argv[2]],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, retries: 8 },
})
const opened = new Map()
let nextHandle = 1

const bytes = text => (text === null ? null : Buffer.from(text, 'base64'))
const text = buffer => (buffer === null || buffer === undefined ? null : buffer.toString('base64'))
const remember = thing => {
  const handle = nextHandle++
  opened.set(handle, thing)
  return handle
}

class JsProducer {
  constructor({ idempotent, transactionalId, transactionTimeoutMs, compression, acks }) {
    this.compression = COMPRESSION[compression]
    this.acks = acks
    this.producer = kafka.producer({
      idempotent: idempotent || transactionalId !== null,
      transactionalId: transactionalId === null ? undefined : transactionalId,
      transactionTimeout: transactionTimeoutMs,
      maxInFlightRequests: 1,
    })
    this.transaction = null
    this.prepared = null
  }

  async connect() {
    await this.producer.connect()
  }

  // kafkajs asks for its producer id when the first transaction begins: that transaction is kept for begin().
  async initTransactions() {
    this.prepared = await this.producer.transaction()
  }

  async begin() {
    this.transaction = this.prepared || (await this.producer.transaction())
    this.prepared = null
  }

  async flush({ records }) {
    const byTopic = new Map()
    for (const record of records) {
      if (!byTopic.has(record.topic)) byTopic.set(record.topic, [])
      byTopic.get(record.topic).push({
        key: bytes(record.key),
        value: bytes(record.value),
        partition: record.partition === null ? undefined : record.partition,
        timestamp: record.timestamp === null ? undefined : String(record.timestamp),
        headers: Object.fromEntries(record.headers.map(([name, value]) => [name, bytes(value)])),
      })
    }
    const topicMessages = [...byTopic].map(([topic, messages]) => ({ topic, messages }))
    const sender = this.transaction || this.producer
    const stored = await sender.sendBatch({ topicMessages, acks: this.acks, compression: this.compression })
    return (stored || []).map(each => [each.topicName, each.partition, Number(each.baseOffset)])
  }

  async sendOffsets({ groupId, offsets }) {
    await this.transaction.sendOffsets({ consumerGroupId: groupId, topics: byTopicPartitions(offsets) })
  }

  async commit() {
    await this.transaction.commit()
    this.transaction = null
  }

  async abort() {
    await this.transaction.abort()
    this.transaction = null
  }

  async close() {
    await this.producer.disconnect()
  }
}

class JsConsumer {
  constructor({ groupId, readCommitted, sessionTimeoutMs }) {
    this.groupId = groupId
    this.assigned = []
    this.records = []
    this.failure = null
    this.consumer = kafka.consumer({
      groupId,
      readUncommitted: !readCommitted,
      sessionTimeout: sessionTimeoutMs,
      heartbeatInterval: 300,
      maxWaitTimeInMs: 100,
      rebalanceTimeout: 10000,
      retry: { initialRetryTime: 50, retries: 8 },
    })
    const { GROUP_JOIN, REBALANCING, CRASH } = this.consumer.events
    this.consumer.on(GROUP_JOIN, ({ payload }) => {
      this.assigned = Object.entries(payload.memberAssignment).flatMap(([topic, partitions]) =>
        partitions.map(partition => [topic, partition])
      )
    })
    this.consumer.on(REBALANCING, () => {
      this.assigned = []
      this.records = []
    })
    this.consumer.on(CRASH, ({ payload }) => {
      if (!payload.restart) this.failure = payload.error
    })
  }

  async connect({ topics }) {
    await this.consumer.connect()
    for (const topic of topics) await this.consumer.subscribe({ topic, fromBeginning: true })
    await this.consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: true,
      eachBatch: async ({ batch, isStale, isRunning, heartbeat }) => {
        if (!isRunning() || isStale()) return
        for (const message of batch.messages) {
          this.records.push({
            topic: batch.topic,
            partition: batch.partition,
            offset: Number(message.offset),
            key: text(message.key),
            value: text(message.value),
            headers: Object.entries(message.headers || {}).map(([name, value]) => [name, text(value)]),
            timestamp: Number(message.timestamp),
          })
        }
        await heartbeat()
      },
    })
  }

  async poll({ timeoutMs }) {
    const deadline = Date.now() + timeoutMs
    while (this.records.length === 0 && this.failure === null && Date.now() < deadline) {
      await new Promise(resolve => setTimeout(resolve, 5))
    }
    if (this.failure !== null) throw this.failure
    const records = this.records
    this.records = []
    return records
  }

  async assignment() {
    return this.assigned
  }

  async commit({ offsets }) {
    await this.consumer.commitOffsets(
      offsets.map(([topic, partition, offset]) => ({ topic, partition, offset: String(offset) }))
    )
  }

  async rewindToCommitted() {
    const admin = kafka.admin()
    await admin.connect()
    const topics = [...new Set(this.assigned.map(([topic]) => topic))]
    const committed = await admin.fetchOffsets({ groupId: this.groupId, topics })
    await admin.disconnect()
    for (const { topic, partitions } of committed) {
      for (const { partition, offset } of partitions) {
        if (!this.assigned.some(([t, p]) => t === topic && p === partition)) continue
        this.consumer.seek({ topic, partition, offset: Number(offset) < 0 ? '0' : offset })
      }
    }
    this.records = []
  }

  async close() {
    await this.consumer.disconnect()
  }
}

class JsAdmin {
  constructor() {
    // It asks again for what the broker says isn't there, and eight times take 11 s.
    this.admin = kafka.admin({ retry: { initialRetryTime: 50, retries: 2 } })
  }

  async connect() {
    await this.admin.connect()
  }

  async createTopic({ name, partitions, configs }) {
    const created = await this.admin.createTopics({
      topics: [
        {
          topic: name,
          numPartitions: partitions,
          replicationFactor: 1,
          configEntries: configs.map(([config, value]) => ({ name: config, value })),
        },
      ],
      waitForLeaders: false,
    })
    if (!created) throw new KafkaJSProtocolError({ code: 36, type: 'TOPIC_ALREADY_EXISTS', message: 'exists' })
  }

  async deleteTopic({ name }) {
    await this.admin.deleteTopics({ topics: [name] })
  }

  async partitionCount({ name }) {
    const { topics } = await this.admin.fetchTopicMetadata()
    const found = topics.find(topic => topic.name === name)
    return found ? found.partitions.length : 0
  }

  async addPartitions({ name, partitions }) {
    await this.admin.createPartitions({ topicPartitions: [{ topic: name, count: partitions }] })
  }

  async topicConfigs({ name }) {
    const { resources } = await this.admin.describeConfigs({
      includeSynonyms: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name }],
    })
    return Object.fromEntries(resources[0].configEntries.map(entry => [entry.configName, entry.configValue]))
  }

  async alterTopicConfig({ name, config, value }) {
    await this.admin.alterConfigs({
      validateOnly: false,
      resources: [{ type: ConfigResourceTypes.TOPIC, name, configEntries: [{ name: config, value }] }],
    })
  }

  async cluster() {
    const { clusterId, brokers } = await this.admin.describeCluster()
    return [clusterId, brokers.length]
  }

  async offsetsOf({ name, partition, timestamp }) {
    const offsets =
      timestamp === null
        ? await this.admin.fetchTopicOffsets(name)
        : await this.admin.fetchTopicOffsetsByTimestamp(name, timestamp)
    return offsets.find(each => each.partition === partition).offset
  }

  async groups() {
    const { groups } = await this.admin.listGroups()
    return groups.map(group => group.groupId)
  }

  async describeGroup({ groupId }) {
    const { groups } = await this.admin.describeGroups([groupId])
    return [groups[0].state, groups[0].members.length]
  }

  async deleteGroup({ groupId }) {
    try {
      await this.admin.deleteGroups([groupId])
    } catch (error) {
      throw error.groups ? error.groups[0].error : error
    }
  }

  async groupOffsets({ groupId, topics }) {
    const found = await this.admin.fetchOffsets({ groupId, topics })
    return found.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, offset }) => [topic, partition, Number(offset)])
    )
  }

  async alterGroupOffsets({ groupId, offsets }) {
    for (const { topic, partitions } of byTopicPartitions(offsets)) {
      await this.admin.setOffsets({ groupId, topic, partitions })
    }
  }

  async close() {
    await this.admin.disconnect()
  }
}

function byTopicPartitions(offsets) {
  const byTopic = new Map()
  for (const [topic, partition, offset] of offsets) {
    if (!byTopic.has(topic)) byTopic.set(topic, [])
    byTopic.get(topic).push({ partition, offset: String(offset) })
  }
  return [...byTopic].map(([topic, partitions]) => ({ topic, partitions }))
}

async function execute(call) {
  switch (call.verb) {
    case 'openProducer': {
      const producer = new JsProducer(call)
      await producer.connect()
      return remember(producer)
    }
    case 'openConsumer': {
      const consumer = new JsConsumer(call)
      await consumer.connect(call)
      return remember(consumer)
    }
    case 'openAdmin': {
      const admin = new JsAdmin()
      await admin.connect()
      return remember(admin)
    }
    default:
      return opened.get(call.handle)[call.verb](call)
  }
}

// kafkajs wraps the broker's error once or more; the innermost one that has a code is Kafka's.
function described(error) {
  let inner = error
  for (let each = error; each; each = each.originalError || each.cause || (each.errors && each.errors[0])) {
    if (typeof each.code === 'number') inner = each
  }
  const code = typeof inner.code === 'number' ? inner.code : null
  return { code, type: String(inner.type || inner.name), message: String(error.message) }
}

readline.createInterface({ input: process.stdin }).on('line', async line => {
  const call = JSON.parse(line)
  let answer
  try {
    const result = await execute(call)
    answer = { id: call.id, result: result === undefined ? null : result }
  } catch (error) {
    answer = { id: call.id, error: described(error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
})
process.stdin.on('end', () => process.exit(0))
process.on('unhandledRejection', () => {})

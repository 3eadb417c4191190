package main

import (
	"context"
	"fmt"
	"sort"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// idempotent sends so many records, several requests in flight, and tells each one's offset.
func idempotent(ctx context.Context, s *settings) error {
	client, err := kgo.NewClient(s.options(
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchMaxBytes(512),
	)...)
	if err != nil {
		return err
	}
	defer client.Close()
	for number := range s.count {
		record := &kgo.Record{Topic: s.topic, Partition: int32(number % s.partitions), Value: fmt.Append(nil, number)}
		client.Produce(ctx, record, func(record *kgo.Record, err error) {
			tell(line{"value": string(record.Value), "partition": record.Partition, "offset": record.Offset, "error": words(err)})
		})
	}
	return client.Flush(ctx)
}

// consume reads a topic, committed records only, from its beginning to what is its end now.
func consume(ctx context.Context, s *settings) error {
	client, err := kgo.NewClient(s.options(
		kgo.ConsumeTopics(s.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.KeepControlRecords(),
		kgo.FetchMaxWait(100*time.Millisecond),
	)...)
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListCommittedOffsets(ctx, s.topic)
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Offset > 0 {
			left[end.Partition] = end.Offset
		}
	})
	for len(left) > 0 && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		fetches.EachRecord(func(record *kgo.Record) {
			if !record.Attrs.IsControl() {
				tell(line{"partition": record.Partition, "offset": record.Offset, "value": string(record.Value)})
			}
			if record.Offset+1 >= left[record.Partition] {
				delete(left, record.Partition)
			}
		})
	}
	return ctx.Err()
}

// describe opens a transaction and tells what the admin client sees of it, then after its commit.
func describe(ctx context.Context, s *settings) error {
	client, err := s.newProducer()
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	if err := client.BeginTransaction(); err != nil {
		return err
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: s.topic, Value: []byte("seen")}).FirstErr(); err != nil {
		return err
	}
	if err := s.look(ctx, admin); err != nil {
		return err
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	return s.look(ctx, admin)
}

func (s *settings) look(ctx context.Context, admin *kadm.Client) error {
	listed, err := admin.ListTransactions(ctx, nil, []string{"Ongoing"})
	if err != nil {
		return err
	}
	described, err := admin.DescribeTransactions(ctx, s.id)
	if err != nil {
		return err
	}
	var topics kadm.TopicsSet
	topics.Add(s.topic, 0)
	producers, err := admin.DescribeProducers(ctx, topics)
	if err != nil {
		return err
	}
	one := described[s.id]
	covers := []string{}
	for topic, partitions := range one.Topics {
		for partition := range partitions {
			covers = append(covers, fmt.Sprintf("%s-%d", topic, partition))
		}
	}
	sort.Strings(covers)
	active := []line{}
	for _, producer := range producers[s.topic].Partitions[0].ActiveProducers.Sorted() {
		active = append(active, line{
			"id": producer.ProducerID, "epoch": producer.ProducerEpoch, "sequence": producer.LastSequence,
			"start": producer.CurrentTxnStartOffset,
		})
	}
	tell(line{
		"ongoing": listed.TransactionalIDs(), "state": one.State, "producer_id": one.ProducerID,
		"epoch": one.ProducerEpoch, "covers": covers, "timeout_ms": one.TimeoutMillis, "producers": active,
		"error": words(one.Err),
	})
	return nil
}

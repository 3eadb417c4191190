package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kgo"
)

func (s *settings) newProducer() (*kgo.Client, error) {
	return kgo.NewClient(s.options(
		kgo.TransactionalID(s.id),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
	)...)
}

// transactions makes one after another and tells what became of each: "committed", "aborted", or "unknown" where
// the commit was asked for and its answer was an error. After an error that stays, a new client goes on.
func transactions(ctx context.Context, s *settings) error {
	stopping, cancel := untilToldToStop(ctx)
	defer cancel()
	var client *kgo.Client
	defer func() {
		if client != nil {
			client.Close()
		}
	}()
	for number := 0; (s.count == 0 || number < s.count) && stopping.Err() == nil; number++ {
		if client != nil && s.clientEvery > 0 && number%s.clientEvery == 0 {
			client.Close()
			client = nil
		}
		if client == nil {
			opened, err := s.newProducer()
			if err != nil {
				return err
			}
			client = opened
		}
		outcome, stays := s.transact(ctx, client, number)
		tell(outcome)
		if stays {
			client.Close()
			client = nil
		}
	}
	return ctx.Err()
}

// transact makes one transaction. stays: the client has an error that it does not get over.
func (s *settings) transact(ctx context.Context, client *kgo.Client, number int) (outcome line, stays bool) {
	values := make([]string, s.records)
	records := make([]*kgo.Record, s.records)
	for place := range records {
		values[place] = fmt.Sprintf("%s %d %d", s.clientID, number, place)
		records[place] = &kgo.Record{Topic: s.topic, Partition: int32((number + place) % s.partitions), Value: []byte(values[place])}
	}
	outcome = line{"number": number, "values": values, "outcome": "aborted"}
	if err := client.BeginTransaction(); err != nil {
		outcome["error"] = words(err)
		return outcome, true
	}
	produced := client.ProduceSync(ctx, records...).FirstErr()
	if produced != nil || s.abortEvery > 0 && number%s.abortEvery == s.abortEvery-1 {
		outcome["error"] = words(produced)
		return outcome, s.abort(ctx, client, outcome)
	}
	if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
		outcome["outcome"], outcome["error"] = "unknown", words(err)
		return outcome, s.abort(ctx, client, outcome)
	}
	outcome["outcome"] = "committed"
	outcome["producer_id"], outcome["epoch"] = identity(ctx, client)
	return outcome, false
}

func (s *settings) abort(ctx context.Context, client *kgo.Client, outcome line) (stays bool) {
	if err := client.AbortBufferedRecords(ctx); err != nil {
		return true
	}
	if err := client.EndTransaction(ctx, kgo.TryAbort); err != nil {
		outcome["abort_error"] = words(err)
		return true
	}
	outcome["producer_id"], outcome["epoch"] = identity(ctx, client)
	return false
}

// identity is the producer id and epoch that the next transaction will have.
func identity(ctx context.Context, client *kgo.Client) (int64, int16) {
	id, epoch, err := client.ProducerID(ctx)
	if err != nil {
		return -1, -1
	}
	return id, epoch
}

// zombie leaves a transaction open, lets a second producer of the same id commit one, and then goes on.
func zombie(ctx context.Context, s *settings) error {
	first, err := s.newProducer()
	if err != nil {
		return err
	}
	defer first.Close()
	second, err := s.newProducer()
	if err != nil {
		return err
	}
	defer second.Close()
	record := func(value string) *kgo.Record { return &kgo.Record{Topic: s.topic, Value: []byte(value)} }
	if err := first.BeginTransaction(); err != nil {
		return err
	}
	if err := first.ProduceSync(ctx, record("zombie")).FirstErr(); err != nil {
		return err
	}
	if err := second.BeginTransaction(); err != nil {
		return err
	}
	if err := second.ProduceSync(ctx, record("successor")).FirstErr(); err != nil {
		return err
	}
	if err := second.EndTransaction(ctx, kgo.TryCommit); err != nil {
		return err
	}
	told := line{"produce": words(first.ProduceSync(ctx, record("zombie again")).FirstErr())}
	told["commit"] = words(first.EndTransaction(ctx, kgo.TryCommit))
	told["abort"] = words(first.EndTransaction(ctx, kgo.TryAbort))
	told["begin"] = words(first.BeginTransaction())
	tell(told)
	return nil
}

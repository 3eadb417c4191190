package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// pipeline reads a topic as a member of a group and writes each record on, in transactions that cover the
// offsets, until it is told to stop.
func pipeline(ctx context.Context, s *settings) error {
	stopping, cancel := untilToldToStop(ctx)
	defer cancel()
	for stopping.Err() == nil {
		session, err := kgo.NewGroupTransactSession(s.options(
			kgo.TransactionalID(s.id),
			kgo.ConsumerGroup(s.group),
			kgo.ConsumeTopics(s.from),
			kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.RequireStableFetchOffsets(),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.FetchMaxWait(100*time.Millisecond),
			kgo.HeartbeatInterval(200*time.Millisecond),
			kgo.SessionTimeout(2*time.Second),
			kgo.ProducerLinger(0),
		)...)
		if err != nil {
			return err
		}
		tell(line{"event": "session", "error": words(s.writeOn(stopping, ctx, session))})
		session.Close()
	}
	return ctx.Err()
}

// writeOn makes transactions until one of them ends in an error, or it is to stop.
func (s *settings) writeOn(stopping, ctx context.Context, session *kgo.GroupTransactSession) error {
	for stopping.Err() == nil {
		polled, cancel := context.WithTimeout(stopping, 200*time.Millisecond)
		fetches := session.PollRecords(polled, 20)
		cancel()
		for _, each := range fetches.Errors() {
			if !errors.Is(each.Err, context.DeadlineExceeded) && !errors.Is(each.Err, context.Canceled) {
				tell(line{"event": "fetch", "error": words(each.Err)})
			}
		}
		if fetches.NumRecords() == 0 {
			continue
		}
		if err := session.Begin(); err != nil {
			return err
		}
		failed := kgo.AbortingFirstErrPromise(session.Client())
		fetches.EachRecord(func(record *kgo.Record) {
			on := &kgo.Record{Topic: s.topic, Value: append([]byte(s.id+" "), record.Value...)}
			session.Produce(ctx, on, failed.Promise())
		})
		wasCommitted, err := session.End(ctx, failed.Err() == nil)
		tell(line{"event": "end", "records": fetches.NumRecords(), "committed": wasCommitted, "error": words(err)})
		if err != nil {
			return err
		}
	}
	return nil
}

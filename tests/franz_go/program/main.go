// Command franz does with franz-go what a test asks for, and tells of it in JSON lines.
//
// One verb per run: transactions, zombie, pipeline, idempotent, consume, describe. A verb that goes on until it
// is told to stop does so when its standard input ends. What is right is the test's affair: errors are told.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kversion"
)

type settings struct {
	bootstrap       string
	clientID        string
	id              string
	topic           string
	from            string
	group           string
	partitions      int
	count           int
	records         int
	abortEvery      int
	clientEvery     int
	firstGeneration bool
	deadline        time.Duration
}

var stdout = json.NewEncoder(os.Stdout)

type line map[string]any

func tell(what line) {
	if err := stdout.Encode(what); err != nil {
		os.Exit(3)
	}
}

// options are those of every client. firstGeneration keeps it to what Kafka 3.5 had: EndTxn up to v3, Produce to v9.
func (s *settings) options(more ...kgo.Opt) []kgo.Opt {
	common := []kgo.Opt{
		kgo.SeedBrokers(s.bootstrap),
		kgo.ClientID(s.clientID),
		kgo.RetryBackoffFn(func(tries int) time.Duration { return time.Duration(min(tries, 10)) * 20 * time.Millisecond }),
		kgo.RequestRetries(1000),
		kgo.RetryTimeout(60 * time.Second),
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RequestTimeoutOverhead(5 * time.Second),
	}
	if s.firstGeneration {
		common = append(common, kgo.MaxVersions(kversion.V3_5_0()))
	}
	return append(common, more...)
}

// words is an error as a test can compare it: Kafka's name for it where it has one.
func words(err error) any {
	if err == nil {
		return nil
	}
	return strings.SplitN(err.Error(), "\n", 2)[0]
}

// untilToldToStop is done when standard input ends.
func untilToldToStop(ctx context.Context) (context.Context, context.CancelFunc) {
	stopping, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, bufio.NewReader(os.Stdin))
		cancel()
	}()
	return stopping, cancel
}

func main() {
	verbs := map[string]func(context.Context, *settings) error{
		"transactions": transactions,
		"zombie":       zombie,
		"pipeline":     pipeline,
		"idempotent":   idempotent,
		"consume":      consume,
		"describe":     describe,
	}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "franz: a verb is needed: transactions, zombie, pipeline, idempotent, consume, describe")
		os.Exit(2)
	}
	var s settings
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	flags.StringVar(&s.bootstrap, "bootstrap", "", "HOST:PORT")
	flags.StringVar(&s.clientID, "client-id", "franz-go", "")
	flags.StringVar(&s.id, "id", "", "transactional id")
	flags.StringVar(&s.topic, "topic", "", "topic to write to, or to read")
	flags.StringVar(&s.from, "from", "", "topic that a pipeline reads")
	flags.StringVar(&s.group, "group", "", "group of a pipeline")
	flags.IntVar(&s.partitions, "partitions", 1, "partitions to write to, in turn")
	flags.IntVar(&s.count, "count", 0, "how many, 0: until told to stop")
	flags.IntVar(&s.records, "records", 3, "records of a transaction")
	flags.IntVar(&s.abortEvery, "abort-every", 0, "each so-manieth transaction is aborted")
	flags.IntVar(&s.clientEvery, "client-every", 0, "after so many transactions a new client goes on")
	flags.BoolVar(&s.firstGeneration, "first-generation", false, "no version that Kafka 3.5 did not have")
	flags.DurationVar(&s.deadline, "deadline", 100*time.Second, "then it gives up")
	_ = flags.Parse(os.Args[2:])
	ctx, cancel := context.WithTimeout(context.Background(), s.deadline)
	defer cancel()
	if err := verbs[os.Args[1]](ctx, &s); err != nil {
		fmt.Fprintln(os.Stderr, "franz:", err)
		os.Exit(1)
	}
}

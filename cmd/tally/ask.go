package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"
)

// saysYes reads what a person answers to a question, unless ctx ends before.
func (t *tool) saysYes(ctx context.Context) (bool, error) {
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(t.in).ReadString('\n')
		answer <- line
	}()
	select {
	case line := <-answer:
		return isYes(line), nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// canAsk reports whether a person sees a question, and can answer it.
func (t *tool) canAsk() bool { return t.inTTY && t.outTTY }

// confirmed is saysYes, and says what any other answer comes to.
func (t *tool) confirmed(ctx context.Context) (bool, error) {
	yes, err := t.saysYes(ctx)
	if !yes {
		fmt.Fprintln(t.out, "Nothing was done.")
	}
	return yes, err
}

func isYes(line string) bool {
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true
	}
	return false
}

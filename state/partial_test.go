package state

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestPartialComesBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		group := rapid.SliceOf(rapid.Byte()).Draw(rt, "group")
		kind, got, err := DecodeRepartitionKey(PartialKey(nil, group))
		if err != nil || kind != KindPartial || !bytes.Equal(got, group) {
			rt.Fatalf("group %x came back as %x of kind %q, %v", group, got, kind, err)
		}
		want := Partial{
			rapid.IntRange(0, 1<<31-1).Draw(rt, "generation"), rapid.IntRange(0, 1<<31-1).Draw(rt, "lane"), rapid.Int64Min(-1).Draw(rt, "newest"),
			rapid.SliceOf(rapid.Byte()).Draw(rt, "values"),
		}
		at := rapid.Int64().Draw(rt, "timestamp")
		p, err := DecodePartial(AppendPartial(nil, want, at), at)
		if err != nil || p.Generation != want.Generation || p.Lane != want.Lane || p.Newest != want.Newest || !bytes.Equal(p.Values, want.Values) {
			rt.Fatalf("%+v came back as %+v, %v", want, p, err)
		}
	})
}

func TestSourcesComeBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := Sources{
			rapid.IntRange(0, 1<<31-1).Draw(rt, "generation"), rapid.IntRange(0, 1<<31-1).Draw(rt, "lane"),
			rapid.MapOf(rapid.Int32Min(0), rapid.Int64Min(0)).Draw(rt, "next"),
		}
		got, err := DecodeSources(EncodeSources(want))
		if err != nil || !reflect.DeepEqual(got, want) {
			rt.Fatalf("%+v came back as %+v, %v", want, got, err)
		}
	})
}

func TestRepartitionRefusesForeignRecords(t *testing.T) {
	for _, key := range []string{"", "a", "user-1", "\x02r\x00\x00g", "\x01v\x00\x00g", "\x01r\x00\x01g", "\x01s\x00\x00"} {
		if kind, group, err := DecodeRepartitionKey([]byte(key)); err == nil {
			t.Errorf("key %q was taken for kind %q, group %q", key, kind, group)
		}
	}
	for _, value := range []string{"", "\x01", "\x01r", "\x02r\x01\x00", "\x01s\x01\x00", "\x01r\xff"} {
		if p, err := DecodePartial([]byte(value), 0); err == nil {
			t.Errorf("value %q was taken for %+v", value, p)
		}
	}
	for _, value := range []string{"", "\x01s", "\x01s\x01\x00\x02", "\x01s\x01\x00\x02\x05\x01\x05", "\x01s\x01\x00\x02\x05\x02\x05"} {
		if s, err := DecodeSources([]byte(value)); err == nil {
			t.Errorf("value %q was taken for %+v", value, s)
		}
	}
}

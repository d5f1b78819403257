package kafka

import "testing"

func TestKeyByDelimiter(t *testing.T) {
	key, value, err := KeyByDelimiter("::")([]byte("a:b::c::d"))
	if string(key) != "a:b" || string(value) != "c::d" || err != nil {
		t.Errorf("got %q, %q, %v", key, value, err)
	}
	if _, _, err := KeyByDelimiter(":")([]byte("abc")); err == nil {
		t.Error("a line without the delimiter was taken")
	}
	if key, _, _ := KeyByDelimiter(":")([]byte(":x")); key == nil {
		t.Error("an empty key became null")
	}
}

func TestKeyByJSONPath(t *testing.T) {
	const line = `{"user": {"id": "u-1", "n": 12.50, "ok": true, "none": null, "a.b": "q"}, "list": [{"x": "y"}]}`
	for _, tt := range []struct{ path, want string }{
		{"user.id", "u-1"}, {"user.n", "12.50"}, {"user.ok", "true"}, {`user."a.b"`, "q"}, {"list[0].x", "y"},
	} {
		f, err := KeyByJSONPath(tt.path)
		if err != nil {
			t.Fatal(err)
		}
		key, value, err := f([]byte(line))
		if string(key) != tt.want || string(value) != line || err != nil {
			t.Errorf("%s: got %q, %v", tt.path, key, err)
		}
	}
	for _, path := range []string{"user", "list", "list[1].x", "user.id.x", "none"} {
		f, err := KeyByJSONPath(path)
		if err != nil {
			t.Fatal(err)
		}
		if key, _, err := f([]byte(line)); err == nil {
			t.Errorf("%s gave %q", path, key)
		}
	}
	f, _ := KeyByJSONPath("user.none")
	if key, _, err := f([]byte(line)); key != nil || err != nil {
		t.Errorf("null gave %q, %v", key, err)
	}
	if _, _, err := f([]byte(`{"user":`)); err == nil {
		t.Error("broken JSON was taken")
	}
	for _, path := range []string{"", "a.", ".a", "a..b", "a[", "a[x]", "a[-1]", `a."b`, "a]b["} {
		if _, err := KeyByJSONPath(path); err == nil {
			t.Errorf("the path %q was taken", path)
		}
	}
}

package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Machine says on what all ran.
func Machine() []Pair {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // "" says as much
	return []Pair{
		{Name: "processor", Value: valueOf("/proc/cpuinfo", "model name")},
		{Name: "cores", Value: fmt.Sprint(runtime.NumCPU())},
		{Name: "memory", Value: valueOf("/proc/meminfo", "MemTotal")},
		{Name: system, Value: runtime.GOOS + "/" + runtime.GOARCH + " " + strings.TrimSpace(string(kernel))},
	}
}

const system = "system"

// MachineLine is a machine in a line. A kernel that was updated makes no other machine.
func MachineLine(machine []Pair) string {
	var all []string
	for _, p := range machine {
		if p.Name != system {
			all = append(all, p.Name+" "+p.Value)
		}
	}
	return strings.Join(all, ", ")
}

// valueOf finds the first "name : value" of a file.
func valueOf(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(text)) {
		if field, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(field) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/usher-dev/usher/internal/webhook/webhooktest"
	"github.com/usher-dev/usher/retoolclient/retooltest"
)

// The secrets and the addresses of every story. None may ever stand in what Usher prints or logs.
const (
	storySecret    = "whsec_canary0123456789"
	storyOldSecret = "whsec_canaryold0123456789"
	storyToken     = "retool_canarycanarycanary"
	storyAdmin     = "canary-admin-token-0123456789"
	storyStripeKey = "rk_test_canary0123456789"
)

var canaries = []string{
	storySecret, storyOldSecret, storyToken, storyAdmin, storyStripeKey,
	"ada@lovelace.example", "grace@hopper.example", "boss@acme.example", "mallory@evil.example",
}

func TestMain(m *testing.M) {
	testscript.Main(withBrowser{m}, map[string]func(){"usher": main})
}

// TestStories plays testdata/script: the real binary, a real SQLite file or Postgres, real signals, and the fake Retool.
func TestStories(t *testing.T) {
	t.Parallel() // with TestCrash, which mostly waits
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setUpStory,
		Condition:           storyCondition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":           cmdServe,
			"stop":            cmdStop,
			"crash":           cmdCrash,
			"fault":           cmdFault,
			"retool":          cmdRetool,
			"event":           cmdEvent,
			"get":             cmdGet,
			"post":            cmdPost,
			"until":           cmdUntil,
			"until-settled":   cmdUntilSettled,
			"invited":         cmdInvited,
			"until-invited":   cmdUntilInvited,
			"until-uninvited": cmdUntilUninvited,
			"sleep":           cmdSleep,
			"crowd":           cmdCrowd,
			"lines":           cmdLines,
			"jsonlines":       cmdJSONLines,
			"until-crowded":   cmdUntilCrowded,
			"logged":          cmdLogged,
			"nocanary":        cmdNoCanary,
			"postgres":        cmdPostgres,
			"second":          cmdSecond,
			"flood":           cmdFlood,
			"until-flooded":   cmdUntilFlooded,
		},
	})
}

// A story is what stands beside one script.
type story struct {
	retool    *retooltest.Retool
	retoolURL string
	url       string
	server    *exec.Cmd
	second    *exec.Cmd // on the same Postgres, at secondURL
	secondURL string
	log       *os.File
}

type storyKey struct{}

func setUpStory(env *testscript.Env) error {
	retool := retooltest.New(retooltest.Options{Token: storyToken, InternalDomains: []string{"acme.example"}})
	web := httptest.NewServer(retool)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(env.WorkDir, "server.log"))
	if err != nil {
		return err
	}
	s := &story{retool: retool, retoolURL: web.URL, url: "http://" + address, log: log}
	env.Values[storyKey{}] = s
	for name, value := range map[string]string{
		"STRIPE_WEBHOOK_SECRET": storySecret, "RETOOL_URL": web.URL, "RETOOL_API_TOKEN": storyToken, "USHER_ADMIN_TOKEN": storyAdmin,
		"USHER_INTERNAL_DOMAINS": "acme.example", "DATABASE_URL": "sqlite://" + filepath.Join(env.WorkDir, "usher.db"), "USHER_LISTEN": address,
		"USHER_RETOOL_REQUESTS_PER_MINUTE": "6000", "USHER_RETOOL_FIRST_WAIT": "50ms", "USHER_RETOOL_TIMEOUT": "1s", "USHER_LOG_LEVEL": "debug",
		"URL": s.url,
	} {
		env.Setenv(name, value)
	}
	env.Defer(func() {
		for _, server := range []*exec.Cmd{s.server, s.second} {
			if server != nil {
				_ = server.Process.Kill()
				_ = server.Wait()
			}
		}
		_ = log.Close()
		web.CloseClientConnections()
		web.Close()
	})
	return nil
}

func storyOf(ts *testscript.TestScript) *story { return ts.Value(storyKey{}).(*story) }

// serve starts "usher serve" and waits until it is ready.
func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	s.server = s.start(ts, s.url, args...)
}

// start starts an instance and waits until it answers.
func (s *story) start(ts *testscript.TestScript, url string, args ...string) *exec.Cmd {
	path := filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "usher")
	server := exec.Command(path, append([]string{"serve"}, args...)...)
	server.Dir = ts.Getenv("WORK")
	server.Env = append(environment(ts), "USHER_LISTEN="+strings.TrimPrefix(url, "http://"))
	server.Stdout, server.Stderr = s.log, s.log
	ts.Check(server.Start())
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if response, err := http.Get(url + "/readyz"); err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return server
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = server.Process.Kill()
	_ = server.Wait()
	ts.Fatalf("usher serve was not ready; its log:\n%s", s.text(ts))
	return nil
}

// environment is the script's, without what the test process has of its own.
func environment(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"STRIPE_WEBHOOK_SECRET", "RETOOL_URL", "RETOOL_API_TOKEN", "USHER_ADMIN_TOKEN", "USHER_INTERNAL_DOMAINS", "DATABASE_URL", "USHER_LISTEN",
		"USHER_RETOOL_REQUESTS_PER_MINUTE", "USHER_RETOOL_FIRST_WAIT", "USHER_RETOOL_TIMEOUT", "USHER_RETOOL_MAX_TRIES", "USHER_LOG_LEVEL", "STRIPE_API_KEY", "TEST_SECRET",
		"USHER_SOURCES_STRIPE_API_URL", "USHER_SOURCES_STRIPE_EVENTS", "USHER_ENVIRONMENT", "PATH", "HOME", "TMPDIR", "GOCOVERDIR",
	} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

func (s *story) text(ts *testscript.TestScript) string {
	text, err := os.ReadFile(s.log.Name())
	ts.Check(err)
	return string(text)
}

// stop sends SIGTERM: the server must end by itself, in under ten seconds, with status 0.
func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	start := time.Now()
	ts.Check(s.server.Process.Signal(syscall.SIGTERM))
	err := s.server.Wait()
	s.server = nil
	if err != nil {
		ts.Fatalf("usher serve ended with %v; its log:\n%s", err, s.text(ts))
	}
	if took := time.Since(start); took > 10*time.Second {
		ts.Fatalf("it took %s to stop", took)
	}
	s.clean(ts)
}

// crash sends SIGKILL.
func cmdCrash(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	ts.Check(s.server.Process.Kill())
	_ = s.server.Wait()
	s.server = nil
	s.clean(ts)
}

// clean fails when anything secret or personal stands in the server's log.
func (s *story) clean(ts *testscript.TestScript) {
	checkClean(ts, "the server's log", s.text(ts))
}

func checkClean(ts *testscript.TestScript, where, text string) {
	for _, canary := range canaries {
		if strings.Contains(text, canary) {
			ts.Fatalf("%s contains %q", where, canary)
		}
	}
}

// nocanary checks what the last command printed.
func cmdNoCanary(ts *testscript.TestScript, neg bool, args []string) {
	checkClean(ts, "stdout", ts.ReadFile("stdout"))
	checkClean(ts, "stderr", ts.ReadFile("stderr"))
}

// fault scripts the fake Retool's next answers.
func cmdFault(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	if len(args) == 1 && args[0] == "clear" {
		s.retool.ClearFaults()
		return
	}
	var fault retooltest.Fault
	ts.Check(json.Unmarshal([]byte(strings.Join(args, " ")), &fault))
	s.retool.Inject(fault)
}

// retool changes what the fake Retool is: "retool token X", "retool plan X".
func cmdRetool(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	switch args[0] {
	case "token":
		s.retool.SetToken(args[1])
	case "plan":
		s.retool.SetPlan(retooltest.Plan(args[1]))
	default:
		ts.Fatalf("unknown: retool %s", args[0])
	}
}

// event posts a signed event: event STATUS ID EMAIL [type=…] [payment=…] [version=…] [customer=…] [test] [secret=…] [forged] [at=-1h].
func cmdEvent(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: event STATUS ID EMAIL [option…]")
	}
	e, secret, at := webhooktest.StripeEvent{ID: args[1], Email: args[2]}, storySecret, time.Now()
	if e.Email == "-" {
		e.Email = ""
	}
	for _, option := range args[3:] {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "type":
			e.Type = value
		case "payment":
			e.PaymentStatus = value
		case "version":
			e.APIVersion = value
		case "customer":
			e.Customer = value
		case "test":
			e.TestMode = true
		case "secret":
			secret = value
		case "at":
			shift, err := time.ParseDuration(value)
			ts.Check(err)
			at = at.Add(shift)
		default:
			ts.Fatalf("unknown option %q", option)
		}
	}
	body := e.JSON()
	status, answer, err := post(context.Background(), storyOf(ts).url+"/webhooks/stripe", webhooktest.SignStripe(body, secret, at), body)
	ts.Check(err)
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("answered %d %s, wanted %s", status, answer, args[0])
	}
}

// get prints what the API answers; the status must be 2xx.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	status, answer := storyOf(ts).call(ts, http.MethodGet, args[0], "")
	if (status/100 == 2) == neg {
		ts.Fatalf("answered %d %s", status, answer)
	}
	fmt.Fprintln(ts.Stdout(), string(answer))
}

// post calls the API: post STATUS PATH [BODY].
func cmdPost(ts *testscript.TestScript, neg bool, args []string) {
	status, answer := storyOf(ts).call(ts, http.MethodPost, args[1], strings.Join(args[2:], " "))
	if strconv.Itoa(status) != args[0] {
		ts.Fatalf("answered %d %s, wanted %s", status, answer, args[0])
	}
	fmt.Fprintln(ts.Stdout(), string(answer))
}

func (s *story) call(ts *testscript.TestScript, method, path, body string) (int, []byte) {
	request, err := http.NewRequest(method, s.url+path, bytes.NewReader([]byte(body)))
	ts.Check(err)
	request.Header.Set("Authorization", "Bearer "+storyAdmin)
	status, answer, err := do(request)
	ts.Check(err)
	return status, answer
}

// until waits until a GET contains every text: until PATH TEXT….
func cmdUntil(ts *testscript.TestScript, neg bool, args []string) {
	s := storyOf(ts)
	var answer []byte
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, answer = s.call(ts, http.MethodGet, args[0], "")
		if !slices.ContainsFunc(args[1:], func(text string) bool { return !bytes.Contains(answer, []byte(text)) }) {
			fmt.Fprintln(ts.Stdout(), string(answer))
			return
		}
	}
	ts.Fatalf("%s never contained %q; the last answer was\n%s\nthe log is\n%s", args[0], args[1:], answer, s.text(ts))
}

// invited checks the fake Retool's memory: invited EMAIL TIMES.
func cmdInvited(ts *testscript.TestScript, neg bool, args []string) {
	if got := storyOf(ts).retool.Count(args[0]); strconv.Itoa(got) != args[1] {
		ts.Fatalf("Retool was made to invite %s %d times, wanted %s", args[0], got, args[1])
	}
}

// until-invited waits for the fake Retool's memory.
func cmdUntilInvited(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if strconv.Itoa(storyOf(ts).retool.Count(args[0])) == args[1] {
			return
		}
	}
	ts.Fatalf("Retool was never made to invite %s %s times", args[0], args[1])
}

// until-uninvited waits until the fake Retool has no invite of somebody any more.
func cmdUntilUninvited(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if !slices.ContainsFunc(storyOf(ts).retool.Invites(), func(i retooltest.Invite) bool { return i.InvitedEmail == args[0] && !i.Deleted }) {
			return
		}
	}
	ts.Fatalf("Retool still has the invite of %s", args[0])
}

// sleep gives a real process real time, where nothing can be asked.
func cmdSleep(ts *testscript.TestScript, neg bool, args []string) {
	d, err := time.ParseDuration(args[0])
	ts.Check(err)
	time.Sleep(d)
}

// crowd writes a list of people: crowd FILE HOW-MANY.
func cmdCrowd(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	list := []byte("email,groups\n")
	for i := range n {
		list = fmt.Appendf(list, "person%d@crowd.example,7\n", i)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), list, 0o600))
}

// jsonlines checks that the last command printed so many lines, each of them one JSON object.
func cmdJSONLines(ts *testscript.TestScript, neg bool, args []string) {
	lines := strings.Split(strings.TrimSuffix(ts.ReadFile("stdout"), "\n"), "\n")
	for _, line := range lines {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			ts.Fatalf("%v: %s", err, line)
		}
	}
	if strconv.Itoa(len(lines)) != args[0] {
		ts.Fatalf("it printed %d lines", len(lines))
	}
}

// until-crowded waits until the ledger has so many invitations, as the command line tells: no Usher need serve.
func cmdUntilCrowded(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		list := exec.Command(filepath.Join(filepath.SplitList(ts.Getenv("PATH"))[0], "usher"), "list", "--limit", "1", "--json")
		list.Env = environment(ts)
		text, err := list.Output()
		ts.Check(err)
		var newest struct {
			ID int64 `json:"id"`
		}
		if json.Unmarshal(text, &newest) == nil && newest.ID >= want {
			return
		}
	}
	ts.Fatalf("there were never %d invitations", want)
}

// lines checks how many lines the last command printed.
func cmdLines(ts *testscript.TestScript, neg bool, args []string) {
	if got := strings.Count(ts.ReadFile("stdout"), "\n"); (strconv.Itoa(got) == args[0]) == neg {
		ts.Fatalf("it printed %d lines", got)
	}
}

// logged checks how often a text stands in the server's log: logged TIMES TEXT.
func cmdLogged(ts *testscript.TestScript, neg bool, args []string) {
	text := storyOf(ts).text(ts)
	if got := strings.Count(text, args[1]); strconv.Itoa(got) != args[0] {
		ts.Fatalf("the log has %q %d times, wanted %s:\n%s", args[1], got, args[0], text)
	}
}

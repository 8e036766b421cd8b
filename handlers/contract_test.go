package handlers_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"go.yaml.in/yaml/v3"

	"github.com/usher-dev/usher/handlers"
)

// document is the contract, as strict as it can be made: what it does not name, an answer may not have.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	text, err := os.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	var tree any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	closeObjects(tree)
	if text, err = yaml.Marshal(tree); err != nil {
		return nil, err
	}
	doc, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
})

// closeObjects forbids the properties that an object's schema does not name. Published, it does not: clients go on
// when there are more one day.
func closeObjects(node any) {
	switch node := node.(type) {
	case map[string]any:
		_, named := node["properties"].(map[string]any)
		if _, said := node["additionalProperties"]; named && !said && node["type"] == "object" {
			node["additionalProperties"] = false
		}
		for _, child := range node {
			closeObjects(child)
		}
	case []any:
		for _, child := range node {
			closeObjects(child)
		}
	}
}

// A contract is a client's transport that holds every exchange against the document.
type contract struct {
	t    *testing.T
	next http.RoundTripper
}

func (c contract) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		sent, _ = io.ReadAll(r.Body)
		_ = r.Body.Close()
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	answer, err := c.next.RoundTrip(r)
	if err != nil {
		return answer, err
	}
	body, err := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	answer.Body = io.NopCloser(bytes.NewReader(body))
	if err == nil && !strings.HasPrefix(r.URL.Path, "/admin") {
		c.check(r, sent, answer, body)
	}
	return answer, err
}

func (c contract) check(r *http.Request, sent []byte, answer *http.Response, body []byte) {
	doc, err := document()
	if err != nil {
		c.t.Errorf("openapi.yaml: %v", err)
		return
	}
	route, parameters := find(doc, r.Method, r.URL)
	if route == nil {
		c.checkNoCall(r, answer, body)
		return
	}
	asked := r.Clone(context.Background())
	asked.Body = io.NopCloser(bytes.NewReader(sent))
	webhook := strings.HasPrefix(r.URL.Path, "/webhooks/")
	request := &openapi3filter.RequestValidationInput{Request: asked, PathParams: parameters, Route: route, Options: &openapi3filter.Options{
		MultiError: true, ExcludeRequestBody: webhook || len(sent) == 0 && route.Operation.RequestBody == nil,
		AuthenticationFunc: func(_ context.Context, input *openapi3filter.AuthenticationInput) error {
			if !strings.HasPrefix(strings.ToLower(r.Header.Get("Authorization")), "bearer ") {
				return input.NewError(http.ErrNoCookie)
			}
			return nil
		},
	}}
	// What is wrong by the document must be refused; what is right may still be, for what it says.
	if err := openapi3filter.ValidateRequest(context.Background(), request); err != nil && answer.StatusCode < 400 {
		c.t.Errorf("%s %s was answered %d, and by openapi.yaml the request is wrong: %v", r.Method, r.URL.Path, answer.StatusCode, err)
	}
	err = openapi3filter.ValidateResponse(context.Background(), &openapi3filter.ResponseValidationInput{RequestValidationInput: request,
		Status: answer.StatusCode, Header: answer.Header, Body: io.NopCloser(bytes.NewReader(body)),
		Options: &openapi3filter.Options{IncludeResponseStatus: true, MultiError: true, ExcludeResponseBody: webhook && len(body) == 0}})
	if err != nil {
		c.t.Errorf("%s %s: the answer %d is not that of openapi.yaml: %v\n%s", r.Method, r.URL.Path, answer.StatusCode, err, body)
	}
}

// checkNoCall holds what no call is against the one form that there is for it.
func (c contract) checkNoCall(r *http.Request, answer *http.Response, body []byte) {
	refused := []int{http.StatusUnauthorized, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInternalServerError}
	if !slices.Contains(refused, answer.StatusCode) || r.Method != http.MethodHead && answer.Header.Get("Content-Type") != "application/problem+json" {
		c.t.Errorf("%s %s is not in openapi.yaml, and is answered %d %s", r.Method, r.URL.Path, answer.StatusCode, body)
	}
}

// find is the call of the document that a request makes, with what its path names.
func find(doc *openapi3.T, method string, address *url.URL) (*routers.Route, map[string]string) {
	parts := strings.Split(strings.TrimSuffix(address.EscapedPath(), "/"), "/")
	for _, path := range slices.Sorted(maps.Keys(doc.Paths.Map())) { // in their order, {id} goes last
		names := strings.Split(path, "/")
		operation := doc.Paths.Value(path).GetOperation(method)
		if operation == nil || len(names) != len(parts) {
			continue
		}
		values := map[string]string{}
		fits := true
		for i, name := range names {
			if strings.HasPrefix(name, "{") && parts[i] != "" {
				values[strings.Trim(name, "{}")], _ = url.PathUnescape(parts[i])
			} else if name != parts[i] {
				fits = false
			}
		}
		if fits {
			return &routers.Route{Spec: doc, Path: path, PathItem: doc.Paths.Value(path), Method: method, Operation: operation}, values
		}
	}
	return nil, nil
}

// Echo's way to write a parameter, and the document's.
var echoParameter = regexp.MustCompile(`:([a-z]+)`)

// No route is without its place in the document, and the document has none that is not there.
func TestEveryRouteIsDocumented(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	var routes, documented []string
	for _, r := range newWorld(t, nil).handler.Routes() {
		method, path := r[0], strings.TrimSuffix(echoParameter.ReplaceAllString(r[1], "{$1}"), "/")
		if !strings.HasPrefix(path, "/admin") && !strings.Contains(method, "route_not_found") {
			routes = append(routes, method+" "+path)
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			documented = append(documented, method+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	routes = slices.Compact(routes)
	for _, route := range routes {
		if !slices.Contains(documented, route) {
			t.Errorf("%s is not in openapi.yaml", route)
		}
	}
	for _, one := range documented {
		if !slices.Contains(routes, one) {
			t.Errorf("%s is in openapi.yaml and no route", one)
		}
	}
	if len(routes) < 30 {
		t.Errorf("only %d routes were found", len(routes))
	}
}

// What Retool shows of a call comes from here.
func TestEveryCallTellsWhatItIs(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	identity := regexp.MustCompile(`^[a-z][A-Za-z]+$`)
	seen := map[string]bool{}
	for path, item := range doc.Paths.Map() {
		for method, call := range item.Operations() {
			name := method + " " + path
			if !identity.MatchString(call.OperationID) || seen[call.OperationID] {
				t.Errorf("%s has the operationId %q", name, call.OperationID)
			}
			seen[call.OperationID] = true
			if call.Summary == "" || len(call.Tags) != 1 || doc.Tags.Get(call.Tags[0]) == nil {
				t.Errorf("%s has no summary, or not one known tag", name)
			}
			if !strings.HasPrefix(path, "/v1/") {
				continue
			}
			role, _ := call.Extensions["x-role"].(string)
			if !strings.Contains(call.Description, "Role: "+role+".") || role == "" {
				t.Errorf("%s does not say the role %q that it needs", name, role)
			}
			for _, status := range []string{"401", "429", "500", "503"} {
				if call.Responses.Value(status) == nil {
					t.Errorf("%s has no %s", name, status)
				}
			}
			for _, parameter := range call.Parameters {
				if parameter.Value.Description == "" {
					t.Errorf("%s does not describe %s", name, parameter.Value.Name)
				}
			}
		}
	}
}

// A field that no test happens to see is in the document all the same.
func TestEveryFieldIsDocumented(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	for name, of := range handlers.Wire {
		schema := doc.Components.Schemas[name]
		if schema == nil {
			t.Errorf("there is no schema %s", name)
			continue
		}
		var always []string
		seen := map[string]bool{}
		for field := range of.Fields() {
			tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.IsExported() {
				continue
			}
			seen[tag] = true
			if schema.Value.Properties[tag] == nil {
				t.Errorf("%s.%s is not in openapi.yaml", name, tag)
			}
			if options == "" {
				always = append(always, tag)
			}
		}
		for property := range schema.Value.Properties {
			if !seen[property] {
				t.Errorf("%s.%s is in openapi.yaml, and no field", name, property)
			}
		}
		if strings.HasSuffix(name, "Request") {
			continue // what is required there is not what is always written
		}
		slices.Sort(always)
		if required := slices.Sorted(slices.Values(schema.Value.Required)); !slices.Equal(required, always) {
			t.Errorf("%s requires %v, and always has %v", name, required, always)
		}
	}
}

// docs/api.md names every call and the role it needs.
func TestEveryCallIsInTheDocs(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/api.md")
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, call := range item.Operations() {
			role, ok := call.Extensions["x-role"].(string)
			place := regexp.QuoteMeta(strings.NewReplacer("{id}", "ID", "{name}", "NAME").Replace(path))
			row := regexp.MustCompile("(?m)^\\|.*`" + method + "[ `].*" + place + "[`?].*\\| " + role + " \\|$")
			if ok && !row.Match(text) {
				t.Errorf("docs/api.md has no row for %s %s with the role %s", method, path, role)
			}
		}
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	w := newWorld(t, nil)
	run(t, w, []scenario{
		{name: "to anybody, also to a page of another origin", path: "/openapi.yaml", wantStatus: 200,
			wantHeader: map[string]string{"Content-Type": "application/yaml", "Access-Control-Allow-Origin": "*"},
			wantBody:   []string{"openapi: 3.1.0", "operationId: inviteUser", `default: "` + w.server.URL + `"`}},
		{name: "nothing else is", path: "/v1/summary", header: http.Header{"Origin": {"https://acme.retool.com"}}, wantStatus: 200, wantHeader: map[string]string{"Access-Control-Allow-Origin": ""}},
	})
}

// The same four requests by Go's net/http and pgx with its pool, written the plain way.
package main

import (
	"context"
	"encoding/json"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt"
	"github.com/jackc/pgx/v4/pgxpool"
)

type user struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	FullName  *string   `json:"full_name"`
	Role      string    `json:"role"`
	IsActive  bool      `json:"is_active"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

type tag struct {
	Name string `json:"name"`
}

type item struct {
	ID          string    `json:"id"`
	Title       string    `json:"title"`
	Description *string   `json:"description"`
	Tags        []tag     `json:"tags"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
}

var (
	pool   *pgxpool.Pool
	secret = []byte(os.Getenv("SECRET_KEY"))
	parser = jwt.Parser{ValidMethods: []string{"HS256"}}
)

const (
	userByID = `SELECT id::text, email, full_name, role, is_active, created_at, updated_at
		FROM users WHERE id = $1 AND is_active`
	itemsOfUser = `SELECT id::text, title, description, created_at, updated_at, ARRAY(
			SELECT name FROM tags JOIN item_tags ON tag_id = tags.id
			WHERE item_id = items.id ORDER BY name)
		FROM items WHERE owner_id = $1 ORDER BY created_at DESC LIMIT $2`
	newItem = `INSERT INTO items (id, owner_id, title, description, version, created_at, updated_at)
		VALUES (gen_random_uuid(), $1, $2, $3, 1, now(), now())
		RETURNING id::text, title, description, created_at, updated_at`
)

func reply(w http.ResponseWriter, status int, content interface{}) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(content); err != nil {
		log.Print(err)
	}
}

func authenticated(view func(http.ResponseWriter, *http.Request, user)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var caller user
		claims := jwt.StandardClaims{}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		key := func(*jwt.Token) (interface{}, error) { return secret, nil }
		if _, err := parser.ParseWithClaims(token, &claims, key); err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		err := pool.QueryRow(r.Context(), userByID, claims.Subject).Scan(
			&caller.ID, &caller.Email, &caller.FullName, &caller.Role, &caller.IsActive,
			&caller.CreatedAt, &caller.UpdatedAt,
		)
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		view(w, r, caller)
	}
}

func health(w http.ResponseWriter, _ *http.Request) {
	reply(w, http.StatusOK, map[string]string{"status": "ok"})
}

func readMe(w http.ResponseWriter, _ *http.Request, caller user) {
	reply(w, http.StatusOK, caller)
}

func items(w http.ResponseWriter, r *http.Request, caller user) {
	if r.Method == http.MethodPost {
		createItem(w, r, caller)
		return
	}
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		limit = 20
	}
	rows, err := pool.Query(r.Context(), itemsOfUser, caller.ID, limit)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer rows.Close()
	found := []item{}
	for rows.Next() {
		var one item
		var names []string
		err := rows.Scan(
			&one.ID, &one.Title, &one.Description, &one.CreatedAt, &one.UpdatedAt, &names,
		)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		one.Tags = []tag{}
		for _, name := range names {
			one.Tags = append(one.Tags, tag{name})
		}
		found = append(found, one)
	}
	reply(w, http.StatusOK, map[string][]item{"items": found})
}

func createItem(w http.ResponseWriter, r *http.Request, caller user) {
	var data struct {
		Title       string  `json:"title"`
		Description *string `json:"description"`
	}
	if err := json.NewDecoder(r.Body).Decode(&data); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	made := item{Tags: []tag{}}
	err := pool.QueryRow(r.Context(), newItem, caller.ID, data.Title, data.Description).Scan(
		&made.ID, &made.Title, &made.Description, &made.CreatedAt, &made.UpdatedAt,
	)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	reply(w, http.StatusCreated, made)
}

func main() {
	config, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	size, err := strconv.Atoi(os.Getenv("DATABASE_POOL_SIZE"))
	if err != nil {
		log.Fatal(err)
	}
	config.MaxConns = int32(size)
	if pool, err = pgxpool.ConnectConfig(context.Background(), config); err != nil {
		log.Fatal(err)
	}
	http.HandleFunc("/health", health)
	http.HandleFunc("/users/me", authenticated(readMe))
	http.HandleFunc("/items", authenticated(items))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

# Heroku runs this in every dyno before its command: variables that are the same for every app.
export HOST=0.0.0.0
export GRACEFUL_TIMEOUT="${GRACEFUL_TIMEOUT:-25}" # a dyno is killed 30 seconds after SIGTERM
export FORWARDED_ALLOW_IPS=10.0.0.0/8             # the routers; the default of the buildpack, *, would trust clients
export PGSSLMODE="${PGSSLMODE:-require}"          # read by asyncpg, unless DATABASE_URL has sslmode
{%- if cookiecutter.use_redis %}
# The certificate of the Key-Value Store is self-signed. The URL may change without a deploy.
case "$REDIS_URL" in
    rediss://*) export REDIS_URL="${REDIS_URL%%\?*}?ssl_cert_reqs=none" ;;
esac
{%- endif %}

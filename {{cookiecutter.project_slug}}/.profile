# Heroku runs this in every dyno before its command: what is the same in every app of this code.
export HOST=0.0.0.0
export GRACEFUL_TIMEOUT="${GRACEFUL_TIMEOUT:-25}" # a dyno is killed 30 seconds after SIGTERM
export FORWARDED_ALLOW_IPS=10.0.0.0/8             # the routers; the buildpack's * would trust clients
export PGSSLMODE="${PGSSLMODE:-require}"          # of asyncpg, for a DATABASE_URL that does not say
{%- if cookiecutter.use_redis %}
# The certificate of the Key-Value Store is signed by itself. The URL changes without a deploy.
case "$REDIS_URL" in
    rediss://*) export REDIS_URL="${REDIS_URL%%\?*}?ssl_cert_reqs=none" ;;
esac
{%- endif %}

# The warm build links with mold.
command -v mold >/dev/null

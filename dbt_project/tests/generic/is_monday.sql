{# As-of dates are Mondays: baseline weeks and visibility of late rows rest on it. #}
{% test is_monday(model, column_name) %}
select {{ column_name }}
from {{ model }}
where isodow({{ column_name }}) <> 1
limit 100
{% endtest %}

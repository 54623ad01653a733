{{ quarantine(
    'dispositions',
    ref('stg_dispositions_parsed'),
    ['alert_id', 'client_id', 'outcome', 'decided_at', 'decided_by']
) }}

{{ quarantine(
    'blacklist', ref('stg_blacklist_parsed'), ['entity_id', 'entity_type', 'list_name', 'reason', 'listed_date']
) }}

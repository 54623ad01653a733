with

final as (

    select
        kind,
        pattern,
        model,
        reason,
        cast(positive_clients_count as bigint) as positive_clients_count,
        cast(found_clients_count as bigint) as found_clients_count,
        cast(client_recall_ratio as double) as client_recall_ratio,
        cast(interval_low as double) as interval_low,
        cast(interval_high as double) as interval_high,
        cast(week_recall_ratio as double) as week_recall_ratio
    from {{ source('evaluation', 'pattern_recall') }}

)

select * from final
